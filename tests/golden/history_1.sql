-- A history as form 1 of the tables wrote it (SQLite): whoever changes the tables must still be able to take it over.
PRAGMA application_id = 1986360163;
BEGIN TRANSACTION;
CREATE TABLE contactors (
	gun INTEGER NOT NULL, 
	module INTEGER NOT NULL, 
	unloaded INTEGER NOT NULL, 
	loaded INTEGER NOT NULL, 
	PRIMARY KEY (gun, module)
);
INSERT INTO "contactors" VALUES(2,3,7,1);
CREATE TABLE faults (
	id INTEGER NOT NULL, 
	run TEXT NOT NULL, 
	code TEXT NOT NULL, 
	place TEXT NOT NULL, 
	severity TEXT NOT NULL, 
	scope TEXT NOT NULL, 
	text TEXT NOT NULL, 
	since_ts DOUBLE NOT NULL, 
	ended_ts DOUBLE, 
	seen_ts DOUBLE NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "faults" VALUES(1,'run-1','GUN_FAULT','g1','error','gun','GUN_FAULT at g1. Look at it.',1795000005.0,1795000009.0,1795000009.0);
CREATE TABLE operations (
	id INTEGER NOT NULL, 
	ts DOUBLE NOT NULL, 
	gun INTEGER NOT NULL, 
	module INTEGER NOT NULL, 
	unloaded INTEGER NOT NULL, 
	loaded INTEGER NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "operations" VALUES(1,1795000050.5,2,3,0,1);
CREATE TABLE power_minutes (
	ts INTEGER NOT NULL, 
	station_w INTEGER NOT NULL, 
	guns_w TEXT NOT NULL, 
	seconds INTEGER NOT NULL, 
	PRIMARY KEY (ts)
);
INSERT INTO "power_minutes" VALUES(1794999960,150000,'[60000,90000,0,0,0,0]',20);
CREATE TABLE power_seconds (
	ts INTEGER NOT NULL, 
	station_w INTEGER NOT NULL, 
	guns_w TEXT NOT NULL, 
	PRIMARY KEY (ts)
);
INSERT INTO "power_seconds" VALUES(1795000000,150000,'[60000,90000,0,0,0,0]');
INSERT INTO "power_seconds" VALUES(1795000001,150000,'[60000,90000,0,0,0,0]');
INSERT INTO "power_seconds" VALUES(1795000002,150000,'[60000,90000,0,0,0,0]');
INSERT INTO "power_seconds" VALUES(1795000003,150000,'[60000,90000,0,0,0,0]');
INSERT INTO "power_seconds" VALUES(1795000004,150000,'[60000,90000,0,0,0,0]');
CREATE TABLE runs (
	run TEXT NOT NULL, 
	station_id TEXT NOT NULL, 
	version TEXT NOT NULL, 
	started_ts DOUBLE NOT NULL, 
	seen_ts DOUBLE NOT NULL, 
	PRIMARY KEY (run)
);
INSERT INTO "runs" VALUES('run-1','test','1',1795000000.0,1795000075.5);
CREATE TABLE schema_version (
	version INTEGER NOT NULL
);
INSERT INTO "schema_version" VALUES(1);
CREATE TABLE sessions (
	id INTEGER NOT NULL, 
	gun INTEGER NOT NULL, 
	run TEXT NOT NULL, 
	from_ts DOUBLE NOT NULL, 
	to_ts DOUBLE, 
	seen_ts DOUBLE NOT NULL, 
	energy_kwh DOUBLE NOT NULL, 
	counter_kwh DOUBLE NOT NULL, 
	soc_from_pct DOUBLE, 
	soc_to_pct DOUBLE, 
	peak_kw DOUBLE NOT NULL, 
	charging_s DOUBLE NOT NULL, 
	waited_s DOUBLE NOT NULL, 
	modules TEXT NOT NULL, 
	ended TEXT, 
	fault TEXT, 
	clock_moved_s DOUBLE NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "sessions" VALUES(1,1,'run-1',1795000000.5,1795000075.0,1795000075.0,1.241667,0.0,40.0,40.0,60.0,74.5,0.0,'[1,2]','CAR_LEFT',NULL,0.0);
INSERT INTO "sessions" VALUES(2,2,'run-1',1795000000.5,1795000060.0,1795000060.0,1.2375,1.25,40.0,80.0,90.0,49.5,0.0,'[3,4,5]','FINISHED',NULL,0.0);
CREATE INDEX sessions_from_ts ON sessions (from_ts);
CREATE INDEX faults_since_ts ON faults (since_ts);
CREATE INDEX operations_ts ON operations (ts);
COMMIT;
