"""The station on a desk: modules, bus bars, contactors, cars and chips. The ten rooms never import it."""
