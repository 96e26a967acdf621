"""Updates that cannot brick a site, one job a file; deploy.py is their command line. Imports nothing of the station.

home      what lies where, and how a file, a link and a release are written so that power may go at any time
journal   how far an update has come
switch    which release the next start runs, and the way back
launcher  main.py and deploy.py typed in HOME go on in a release
site      the site's own settings: config.ini edited by hand, and what changes with a release
settings  [Deploy] of config.ini, and which addresses are allowed
mirror    everything that git does
signature whose tag is trusted
stage     a release and its venv, made and tried out beside the running one
station   what status.json tells: may it be stopped, and is the new version well
restart   the three ways in which main.py is started anew
sequence  the update from the first look to the last
supervise keeps main.py running
"""
