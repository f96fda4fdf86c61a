BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'tune fd6f27a9');
INSERT INTO "studies" VALUES(2,'runs base adam width=8');
INSERT INTO "studies" VALUES(3,'runs mup adam width=16');
INSERT INTO "studies" VALUES(4,'runs mup adam width=32');
INSERT INTO "studies" VALUES(5,'runs sp adam width=16');
INSERT INTO "studies" VALUES(6,'runs sp adam width=32');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MINIMIZE',1,0);
INSERT INTO "study_directions" VALUES(2,'MINIMIZE',2,0);
INSERT INTO "study_directions" VALUES(3,'MINIMIZE',3,0);
INSERT INTO "study_directions" VALUES(4,'MINIMIZE',4,0);
INSERT INTO "study_directions" VALUES(5,'MINIMIZE',5,0);
INSERT INTO "study_directions" VALUES(6,'MINIMIZE',6,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'lr',0.0078125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(2,2,'lr',0.0078125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(3,3,'lr',0.03125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(4,4,'lr',0.03125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(5,5,'lr',0.125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(6,6,'lr',0.125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(7,7,'lr',0.5,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(8,8,'lr',0.5,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(9,9,'lr',0.015625,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(10,10,'lr',0.015625,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(11,11,'lr',0.25,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(12,12,'lr',0.25,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(13,13,'lr',0.0078125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(14,14,'lr',0.015625,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(15,15,'lr',0.03125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(16,16,'lr',0.125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(17,17,'lr',0.25,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(18,18,'lr',0.5,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(19,19,'lr',8.83883476483184465921e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(20,20,'lr',8.83883476483184465921e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(21,21,'lr',0.0078125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(22,22,'lr',0.0078125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(23,23,'lr',0.03125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(24,24,'lr',0.03125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(25,25,'lr',0.125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(26,26,'lr',0.125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(27,27,'lr',8.83883476483184465921e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(28,28,'lr',8.83883476483184465921e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(29,29,'lr',5.25560259533571563772e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(30,30,'lr',5.25560259533571563772e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(31,31,'lr',0.015625,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(32,32,'lr',0.015625,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(33,33,'lr',0.0078125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(34,34,'lr',0.0078125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(35,35,'lr',0.03125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(36,36,'lr',0.03125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(37,37,'lr',0.125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(38,38,'lr',0.125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(39,39,'lr',8.83883476483184465921e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(40,40,'lr',8.83883476483184465921e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(41,41,'lr',5.25560259533571563772e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(42,42,'lr',5.25560259533571563772e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(43,43,'lr',1.05112051906714312754e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(44,44,'lr',1.05112051906714312754e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(45,45,'lr',0.0078125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(46,46,'lr',0.0078125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(47,47,'lr',0.03125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(48,48,'lr',0.03125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(49,49,'lr',0.125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(50,50,'lr',0.125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(51,51,'lr',8.83883476483184465921e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(52,52,'lr',8.83883476483184465921e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(53,53,'lr',1.05112051906714312754e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(54,54,'lr',1.05112051906714312754e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(55,55,'lr',0.015625,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(56,56,'lr',0.015625,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(57,57,'lr',0.0078125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(58,58,'lr',0.0078125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(59,59,'lr',0.03125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(60,60,'lr',0.03125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(61,61,'lr',0.125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(62,62,'lr',0.125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(63,63,'lr',8.83883476483184465921e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(64,64,'lr',8.83883476483184465921e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(65,65,'lr',1.05112051906714312754e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(66,66,'lr',1.05112051906714312754e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(67,67,'lr',0.015625,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
INSERT INTO "trial_params" VALUES(68,68,'lr',0.015625,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-12, "high": 1000000000000.0, "log": true}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'key','"99917564fd2b3bd6fc31"');
INSERT INTO "trial_user_attributes" VALUES(2,1,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(3,1,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(4,1,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 8, "base_width": 8, "hyperparameters": {"lr": 0.0078125}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(5,1,'result','{"outcome": "ok", "initial_loss": 3.360769748687744, "final_loss": 2.7201147079467773, "best_loss": 2.7201147079467773, "train_curve": [3.0763230323791504, 3.308143138885498, 2.5638787746429443], "eval_curve": [[0, 3.360769748687744], [3, 2.7201147079467773]], "movement": {"1": 0.2545924421931103, "3": 0.29225563200389726}, "looks": [], "n_parameters": 610, "accumulate": 1, "seconds": 0.008026370000038696, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(6,2,'key','"f2a302a5d0650280ef1c"');
INSERT INTO "trial_user_attributes" VALUES(7,2,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(8,2,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(9,2,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 8, "base_width": 8, "hyperparameters": {"lr": 0.0078125}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(10,2,'result','{"outcome": "ok", "initial_loss": 2.9305965900421143, "final_loss": 2.5808217525482178, "best_loss": 2.5808217525482178, "train_curve": [2.978943109512329, 2.5877368450164795, 3.017730474472046], "eval_curve": [[0, 2.9305965900421143], [3, 2.5808217525482178]], "movement": {"1": 0.2678223098360823, "3": 0.37551057249113645}, "looks": [], "n_parameters": 610, "accumulate": 1, "seconds": 0.01928204600000072, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(11,3,'key','"8b78c1522d939f8b5bed"');
INSERT INTO "trial_user_attributes" VALUES(12,3,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(13,3,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(14,3,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 8, "base_width": 8, "hyperparameters": {"lr": 0.03125}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(15,3,'result','{"outcome": "ok", "initial_loss": 3.360769748687744, "final_loss": 2.120363712310791, "best_loss": 2.120363712310791, "train_curve": [3.0763230323791504, 2.911487102508545, 2.0428996086120605], "eval_curve": [[0, 3.360769748687744], [3, 2.120363712310791]], "movement": {"1": 0.9750670133819873, "3": 0.8781350693205668}, "looks": [], "n_parameters": 610, "accumulate": 1, "seconds": 0.007957761999989543, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(16,4,'key','"048f0c80a6bf76cf50c5"');
INSERT INTO "trial_user_attributes" VALUES(17,4,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(18,4,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(19,4,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 8, "base_width": 8, "hyperparameters": {"lr": 0.03125}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(20,4,'result','{"outcome": "ok", "initial_loss": 2.9305965900421143, "final_loss": 2.206601858139038, "best_loss": 2.206601858139038, "train_curve": [2.978943109512329, 2.480208396911621, 2.3955318927764893], "eval_curve": [[0, 2.9305965900421143], [3, 2.206601858139038]], "movement": {"1": 1.0105526669087372, "3": 1.0051495797883598}, "looks": [], "n_parameters": 610, "accumulate": 1, "seconds": 0.007823300000040945, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(21,5,'key','"67ae11401e1980ce5bfe"');
INSERT INTO "trial_user_attributes" VALUES(22,5,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(23,5,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(24,5,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 8, "base_width": 8, "hyperparameters": {"lr": 0.125}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(25,5,'result','{"outcome": "ok", "initial_loss": 3.360769748687744, "final_loss": 2.0050246715545654, "best_loss": 2.0050246715545654, "train_curve": [3.0763230323791504, 2.7693631649017334, 2.0608408451080322], "eval_curve": [[0, 3.360769748687744], [3, 2.0050246715545654]], "movement": {"1": 3.024361925823075, "3": 1.1363640029343565}, "looks": [], "n_parameters": 610, "accumulate": 1, "seconds": 0.008256060999997317, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(26,6,'key','"acda253068525a663758"');
INSERT INTO "trial_user_attributes" VALUES(27,6,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(28,6,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(29,6,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 8, "base_width": 8, "hyperparameters": {"lr": 0.125}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(30,6,'result','{"outcome": "ok", "initial_loss": 2.9305965900421143, "final_loss": 2.111258029937744, "best_loss": 2.111258029937744, "train_curve": [2.978943109512329, 2.596003770828247, 2.134228467941284], "eval_curve": [[0, 2.9305965900421143], [3, 2.111258029937744]], "movement": {"1": 3.5720040749576762, "3": 1.179844004466686}, "looks": [], "n_parameters": 610, "accumulate": 1, "seconds": 0.007413290999977562, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(31,7,'key','"1e3451f4455a4fb78c38"');
INSERT INTO "trial_user_attributes" VALUES(32,7,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(33,7,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(34,7,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 8, "base_width": 8, "hyperparameters": {"lr": 0.5}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(35,7,'result','{"outcome": "ok", "initial_loss": 3.360769748687744, "final_loss": 2.432730197906494, "best_loss": 2.432730197906494, "train_curve": [3.0763230323791504, 10.082527160644531, 2.844496250152588], "eval_curve": [[0, 3.360769748687744], [3, 2.432730197906494]], "movement": {"1": 11.836449985017396, "3": 1.2521119323239602}, "looks": [], "n_parameters": 610, "accumulate": 1, "seconds": 0.007811286999981348, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(36,8,'key','"97536657255e48e710d5"');
INSERT INTO "trial_user_attributes" VALUES(37,8,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(38,8,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(39,8,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 8, "base_width": 8, "hyperparameters": {"lr": 0.5}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(40,8,'result','{"outcome": "ok", "initial_loss": 2.9305965900421143, "final_loss": 2.405432939529419, "best_loss": 2.405432939529419, "train_curve": [2.978943109512329, 10.507819175720215, 2.3204498291015625], "eval_curve": [[0, 2.9305965900421143], [3, 2.405432939529419]], "movement": {"1": 14.430491232990441, "3": 1.2710686300768659}, "looks": [], "n_parameters": 610, "accumulate": 1, "seconds": 0.008066154999994524, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(41,9,'key','"09ceb85fa52f2d2a58bc"');
INSERT INTO "trial_user_attributes" VALUES(42,9,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(43,9,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(44,9,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 8, "base_width": 8, "hyperparameters": {"lr": 0.015625}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(45,9,'result','{"outcome": "ok", "initial_loss": 3.360769748687744, "final_loss": 2.340756416320801, "best_loss": 2.340756416320801, "train_curve": [3.0763230323791504, 3.161194324493408, 2.2973034381866455], "eval_curve": [[0, 3.360769748687744], [3, 2.340756416320801]], "movement": {"1": 0.4991737619376785, "3": 0.5356825194186298}, "looks": [], "n_parameters": 610, "accumulate": 1, "seconds": 0.00799828799995339, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(46,10,'key','"dd0311eba1a3422e0864"');
INSERT INTO "trial_user_attributes" VALUES(47,10,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(48,10,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(49,10,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 8, "base_width": 8, "hyperparameters": {"lr": 0.015625}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(50,10,'result','{"outcome": "ok", "initial_loss": 2.9305965900421143, "final_loss": 2.357848644256592, "best_loss": 2.357848644256592, "train_curve": [2.978943109512329, 2.5414183139801025, 2.747342348098755], "eval_curve": [[0, 2.9305965900421143], [3, 2.357848644256592]], "movement": {"1": 0.5392726212929849, "3": 0.679949478221485}, "looks": [], "n_parameters": 610, "accumulate": 1, "seconds": 0.007528347000004487, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(51,11,'key','"c0cee46a429a00a77fc7"');
INSERT INTO "trial_user_attributes" VALUES(52,11,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(53,11,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(54,11,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 8, "base_width": 8, "hyperparameters": {"lr": 0.25}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(55,11,'result','{"outcome": "ok", "initial_loss": 3.360769748687744, "final_loss": 2.295463800430298, "best_loss": 2.295463800430298, "train_curve": [3.0763230323791504, 4.35614013671875, 2.2367217540740967], "eval_curve": [[0, 3.360769748687744], [3, 2.295463800430298]], "movement": {"1": 5.896947312206511, "3": 1.1238692225932314}, "looks": [], "n_parameters": 610, "accumulate": 1, "seconds": 0.00797479399994927, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(56,12,'key','"31264e55ed6bf739f984"');
INSERT INTO "trial_user_attributes" VALUES(57,12,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(58,12,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(59,12,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 8, "base_width": 8, "hyperparameters": {"lr": 0.25}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(60,12,'result','{"outcome": "ok", "initial_loss": 2.9305965900421143, "final_loss": 2.3271048069000244, "best_loss": 2.3271048069000244, "train_curve": [2.978943109512329, 3.9033961296081543, 2.2653186321258545], "eval_curve": [[0, 2.9305965900421143], [3, 2.3271048069000244]], "movement": {"1": 7.195246625638492, "3": 1.1389971249324773}, "looks": [], "n_parameters": 610, "accumulate": 1, "seconds": 0.009440471999994315, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(61,19,'key','"153175fc3a53aeccdaa7"');
INSERT INTO "trial_user_attributes" VALUES(62,19,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(63,19,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(64,19,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 8, "base_width": 8, "hyperparameters": {"lr": 0.08838834764831845}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": true, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(65,19,'result','{"outcome": "ok", "initial_loss": 3.360769748687744, "final_loss": 2.1440985202789307, "best_loss": 2.1440985202789307, "train_curve": [3.0763230323791504, 2.5702178478240967, 2.2306742668151855], "eval_curve": [[0, 3.360769748687744], [3, 2.1440985202789307]], "movement": {"1": 2.3625793001044597, "3": 1.2172393655092935}, "looks": [{"step": 0, "size": {"1": 1.7516263723373413, "3": 1.6703523397445679}, "change": {}, "effective": {}, "propagated": {}, "alignment": {}, "kernel_drift": 0.0, "kernel_distance": 0.0, "target_alignment": 0.2652942927853882}, {"step": 1, "size": {"1": 2.1253814697265625, "3": 1.6146140098571777}, "change": {"1": 1.3850347995758057, "3": 1.4887938499450684}, "effective": {"1": 1.3850347995758057, "3": 0.2361762523651123}, "propagated": {"1": 0.0, "3": 1.3354068994522095}, "alignment": {"1": 0.819647511215503, "3": 0.6238109796126645}, "kernel_drift": 0.2951710201717139, "kernel_distance": 0.03299654699517296, "target_alignment": 0.3760912335448852}, {"step": 2, "size": {"1": 3.507817029953003, "3": 1.479735016822815}, "change": {"1": 3.4597654342651367, "3": 2.1581075191497803}, "effective": {"1": 3.4597654342651367, "3": 0.4243791401386261}, "propagated": {"1": 0.0, "3": 1.8729816675186157}, "alignment": {"1": 0.840421559186352, "3": 0.5046569581682624}, "kernel_drift": 0.579032630458424, "kernel_distance": 0.13953203548201973, "target_alignment": 0.2757092222124449}, {"step": 3, "size": {"1": 4.11387300491333, "3": 1.181310772895813}, "change": {"1": 4.1383562088012695, "3": 2.0332186222076416}, "effective": {"1": 4.1383562088012695, "3": 0.385436087846756}, "propagated": {"1": 0.0, "3": 1.7976930141448975}, "alignment": {"1": 0.8381489757646455, "3": 0.41996765171123496}, "kernel_drift": 0.5791839663537373, "kernel_distance": 0.18404709916848752, "target_alignment": 0.31581283777182406}], "n_parameters": 610, "accumulate": 1, "seconds": 0.03716059100003122, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(66,20,'key','"3804a98ace8ef1380187"');
INSERT INTO "trial_user_attributes" VALUES(67,20,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(68,20,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(69,20,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 8, "base_width": 8, "hyperparameters": {"lr": 0.08838834764831845}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": true, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(70,20,'result','{"outcome": "ok", "initial_loss": 2.9305965900421143, "final_loss": 2.121502637863159, "best_loss": 2.121502637863159, "train_curve": [2.978943109512329, 2.4917898178100586, 2.2376668453216553], "eval_curve": [[0, 2.9305965900421143], [3, 2.121502637863159]], "movement": {"1": 2.5675050294648165, "3": 1.1285212855639346}, "looks": [{"step": 0, "size": {"1": 1.5404047966003418, "3": 0.9931870102882385}, "change": {}, "effective": {}, "propagated": {}, "alignment": {}, "kernel_drift": 0.0, "kernel_distance": 0.0, "target_alignment": 0.23227850129966107}, {"step": 1, "size": {"1": 2.176891565322876, "3": 0.6694310903549194}, "change": {"1": 1.4542381763458252, "3": 1.059484839439392}, "effective": {"1": 1.4542381763458252, "3": 0.08094120770692825}, "propagated": {"1": 0.0, "3": 1.0172579288482666}, "alignment": {"1": 0.8315768747923008, "3": 0.5755828980467679}, "kernel_drift": 0.6272936671063383, "kernel_distance": 0.1877367878414934, "target_alignment": 0.1467207330987644}, {"step": 2, "size": {"1": 3.824374198913574, "3": 0.6628563404083252}, "change": {"1": 3.279066324234009, "3": 1.2379032373428345}, "effective": {"1": 3.279066324234009, "3": 0.12335193902254105}, "propagated": {"1": 0.0, "3": 1.2125147581100464}, "alignment": {"1": 0.8374602564183776, "3": 0.5481447513610823}, "kernel_drift": 0.9381161105131375, "kernel_distance": 0.4871009590149019, "target_alignment": 0.12546468592321097}, {"step": 3, "size": {"1": 4.529130935668945, "3": 0.42984798550605774}, "change": {"1": 3.9549970626831055, "3": 1.1208326816558838}, "effective": {"1": 3.9549970626831055, "3": 0.10318922996520996}, "propagated": {"1": 0.0, "3": 1.0959471464157104}, "alignment": {"1": 0.8368884408790784, "3": 0.5187570907288127}, "kernel_drift": 0.954364445283979, "kernel_distance": 0.4263232372413644, "target_alignment": 0.11608235556077635}], "n_parameters": 610, "accumulate": 1, "seconds": 0.03291865699998198, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(71,21,'key','"d80ae06dd43f221c21a1"');
INSERT INTO "trial_user_attributes" VALUES(72,21,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(73,21,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(74,21,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.0078125}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(75,21,'result','{"outcome": "ok", "initial_loss": 2.958951711654663, "final_loss": 2.4522476196289062, "best_loss": 2.4522476196289062, "train_curve": [2.869636297225952, 2.660586357116699, 2.666775703430176], "eval_curve": [[0, 2.958951711654663], [3, 2.4522476196289062]], "movement": {"1": 0.2938560215752469, "3": 0.44589974298500645}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.01628487599998607, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(76,22,'key','"ae2d6c83b4f433a3a897"');
INSERT INTO "trial_user_attributes" VALUES(77,22,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(78,22,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(79,22,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.0078125}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(80,22,'result','{"outcome": "ok", "initial_loss": 2.5398592948913574, "final_loss": 2.2701175212860107, "best_loss": 2.2701175212860107, "train_curve": [2.7044482231140137, 2.35064435005188, 2.5035295486450195], "eval_curve": [[0, 2.5398592948913574], [3, 2.2701175212860107]], "movement": {"1": 0.26156629800768233, "3": 0.4270042261970594}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.008927260000007209, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(81,23,'key','"9cbbd42b4fb439edb176"');
INSERT INTO "trial_user_attributes" VALUES(82,23,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(83,23,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(84,23,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.03125}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(85,23,'result','{"outcome": "ok", "initial_loss": 2.958951711654663, "final_loss": 1.9788700342178345, "best_loss": 1.9788700342178345, "train_curve": [2.869636297225952, 2.4325523376464844, 2.1166021823883057], "eval_curve": [[0, 2.958951711654663], [3, 1.9788700342178345]], "movement": {"1": 0.961336838639672, "3": 1.1073634160618522}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.008088156999974672, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(86,24,'key','"b3d7a598aa0775ee0f2a"');
INSERT INTO "trial_user_attributes" VALUES(87,24,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(88,24,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(89,24,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.03125}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(90,24,'result','{"outcome": "ok", "initial_loss": 2.5398592948913574, "final_loss": 2.050001621246338, "best_loss": 2.050001621246338, "train_curve": [2.7044482231140137, 2.3019907474517822, 2.2625672817230225], "eval_curve": [[0, 2.5398592948913574], [3, 2.050001621246338]], "movement": {"1": 0.9297535478842566, "3": 0.9703116527078159}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.022142218999988472, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(91,25,'key','"c9efcde79b1882d8cea4"');
INSERT INTO "trial_user_attributes" VALUES(92,25,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(93,25,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(94,25,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.125}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(95,25,'result','{"outcome": "ok", "initial_loss": 2.958951711654663, "final_loss": 1.8766145706176758, "best_loss": 1.8766145706176758, "train_curve": [2.869636297225952, 3.225623846054077, 2.312856435775757], "eval_curve": [[0, 2.958951711654663], [3, 1.8766145706176758]], "movement": {"1": 2.9034375480507064, "3": 1.701531774667311}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.023310591000040404, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(96,26,'key','"96ecafed029c761837f6"');
INSERT INTO "trial_user_attributes" VALUES(97,26,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(98,26,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(99,26,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.125}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(100,26,'result','{"outcome": "ok", "initial_loss": 2.5398592948913574, "final_loss": 1.9720253944396973, "best_loss": 1.9720253944396973, "train_curve": [2.7044482231140137, 2.7436952590942383, 2.024519443511963], "eval_curve": [[0, 2.5398592948913574], [3, 1.9720253944396973]], "movement": {"1": 3.785487997352934, "3": 1.6650445577239532}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.021906126999965636, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(101,27,'key','"f8244669db710580ec74"');
INSERT INTO "trial_user_attributes" VALUES(102,27,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(103,27,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(104,27,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.08838834764831845}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": true, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(105,27,'result','{"outcome": "ok", "initial_loss": 2.958951711654663, "final_loss": 1.7757962942123413, "best_loss": 1.7757962942123413, "train_curve": [2.869636297225952, 2.6630148887634277, 1.9449008703231812], "eval_curve": [[0, 2.958951711654663], [3, 1.7757962942123413]], "movement": {"1": 2.1791118219738403, "3": 1.4274322177293157}, "looks": [{"step": 0, "size": {"1": 1.4443525075912476, "3": 1.154500126838684}, "change": {}, "effective": {}, "propagated": {}, "alignment": {}, "kernel_drift": 0.0, "kernel_distance": 0.0, "target_alignment": 0.2973554181877963}, {"step": 1, "size": {"1": 1.66647207736969, "3": 1.4301388263702393}, "change": {"1": 1.3855431079864502, "3": 1.6265290975570679}, "effective": {"1": 1.3855431079864502, "3": 0.1757914125919342}, "propagated": {"1": 0.0, "3": 1.474545955657959}, "alignment": {"1": 0.827692187893959, "3": 0.6228536369989305}, "kernel_drift": 0.5621315515907953, "kernel_distance": 0.08562074733591332, "target_alignment": 0.4063850883856547}, {"step": 2, "size": {"1": 2.573045015335083, "3": 1.4772331714630127}, "change": {"1": 2.7659547328948975, "3": 1.6436363458633423}, "effective": {"1": 2.7659547328948975, "3": 0.3173746168613434}, "propagated": {"1": 0.0, "3": 1.4647583961486816}, "alignment": {"1": 0.8189105372031273, "3": 0.557971791510037}, "kernel_drift": 0.44296272828821714, "kernel_distance": 0.0530238264020486, "target_alignment": 0.33743845947764406}, {"step": 3, "size": {"1": 3.002410650253296, "3": 1.446694254875183}, "change": {"1": 3.1474056243896484, "3": 1.6479706764221191}, "effective": {"1": 3.1474056243896484, "3": 0.36581429839134216}, "propagated": {"1": 0.0, "3": 1.466103196144104}, "alignment": {"1": 0.8082721333378007, "3": 0.5538327633508187}, "kernel_drift": 0.5920735095259734, "kernel_distance": 0.10924878189030428, "target_alignment": 0.33617018501312074}], "n_parameters": 1210, "accumulate": 1, "seconds": 0.09881938899997067, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(106,28,'key','"616ae7fb60aa39eda3fd"');
INSERT INTO "trial_user_attributes" VALUES(107,28,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(108,28,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(109,28,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.08838834764831845}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": true, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(110,28,'result','{"outcome": "ok", "initial_loss": 2.5398592948913574, "final_loss": 1.9229674339294434, "best_loss": 1.9229674339294434, "train_curve": [2.7044482231140137, 2.516470432281494, 2.076443672180176], "eval_curve": [[0, 2.5398592948913574], [3, 1.9229674339294434]], "movement": {"1": 2.529153518221872, "3": 1.2718889190520717}, "looks": [{"step": 0, "size": {"1": 1.3640047311782837, "3": 0.8892327547073364}, "change": {}, "effective": {}, "propagated": {}, "alignment": {}, "kernel_drift": 0.0, "kernel_distance": 0.0, "target_alignment": 0.22144048608794079}, {"step": 1, "size": {"1": 1.8628009557724, "3": 0.6950520873069763}, "change": {"1": 1.4467827081680298, "3": 1.1372510194778442}, "effective": {"1": 1.4467827081680298, "3": 0.11915463209152222}, "propagated": {"1": 0.0, "3": 1.0516881942749023}, "alignment": {"1": 0.8384582404349821, "3": 0.5724440153816458}, "kernel_drift": 0.5795856831990875, "kernel_distance": 0.09032096350579716, "target_alignment": 0.20445294744212283}, {"step": 2, "size": {"1": 3.070180654525757, "3": 0.6153085827827454}, "change": {"1": 2.8747994899749756, "3": 1.1746915578842163}, "effective": {"1": 2.8747994899749756, "3": 0.19029384851455688}, "propagated": {"1": 0.0, "3": 1.0565470457077026}, "alignment": {"1": 0.8249402452385566, "3": 0.5057477197860145}, "kernel_drift": 0.7265876496104684, "kernel_distance": 0.08962474157675691, "target_alignment": 0.2610087534273088}, {"step": 3, "size": {"1": 3.623241901397705, "3": 0.7391788959503174}, "change": {"1": 3.449777364730835, "3": 1.1310052871704102}, "effective": {"1": 3.449777364730835, "3": 0.27194616198539734}, "propagated": {"1": 0.0, "3": 0.9942340850830078}, "alignment": {"1": 0.8214235264871489, "3": 0.5475441320694917}, "kernel_drift": 0.7647909020557521, "kernel_distance": 0.18713268370405625, "target_alignment": 0.22271576634190018}], "n_parameters": 1210, "accumulate": 1, "seconds": 0.09230084600000055, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(111,29,'key','"7c7fed8fd4a5c23b339c"');
INSERT INTO "trial_user_attributes" VALUES(112,29,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(113,29,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(114,29,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.052556025953357156}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(115,29,'result','{"outcome": "ok", "initial_loss": 2.958951711654663, "final_loss": 1.8006755113601685, "best_loss": 1.8006755113601685, "train_curve": [2.869636297225952, 2.3928816318511963, 1.8323845863342285], "eval_curve": [[0, 2.958951711654663], [3, 1.8006755113601685]], "movement": {"1": 1.4411983981323373, "3": 1.258305076415263}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.022027583999999933, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(116,30,'key','"93f1674e2bbf4301c990"');
INSERT INTO "trial_user_attributes" VALUES(117,30,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(118,30,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(119,30,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.052556025953357156}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(120,30,'result','{"outcome": "ok", "initial_loss": 2.5398592948913574, "final_loss": 1.9918246269226074, "best_loss": 1.9918246269226074, "train_curve": [2.7044482231140137, 2.3491973876953125, 2.183739185333252], "eval_curve": [[0, 2.5398592948913574], [3, 1.9918246269226074]], "movement": {"1": 1.4924634907522665, "3": 1.0966559084647944}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.021276095000018813, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(121,31,'key','"33af8078f5f888cd8617"');
INSERT INTO "trial_user_attributes" VALUES(122,31,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(123,31,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(124,31,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.015625}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(125,31,'result','{"outcome": "ok", "initial_loss": 2.958951711654663, "final_loss": 2.2028701305389404, "best_loss": 2.2028701305389404, "train_curve": [2.869636297225952, 2.5677597522735596, 2.3707213401794434], "eval_curve": [[0, 2.958951711654663], [3, 2.2028701305389404]], "movement": {"1": 0.5534912327862407, "3": 0.7978181243326423}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.020245984000041517, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(126,32,'key','"ce3ac9d703643cda9ee7"');
INSERT INTO "trial_user_attributes" VALUES(127,32,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(128,32,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(129,32,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.015625}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(130,32,'result','{"outcome": "ok", "initial_loss": 2.5398592948913574, "final_loss": 2.1492645740509033, "best_loss": 2.1492645740509033, "train_curve": [2.7044482231140137, 2.3196351528167725, 2.375565528869629], "eval_curve": [[0, 2.5398592948913574], [3, 2.1492645740509033]], "movement": {"1": 0.504703375717449, "3": 0.7148522171615105}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.02209297699999979, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(131,33,'key','"2ab0fd3cbb3c57ed9b7e"');
INSERT INTO "trial_user_attributes" VALUES(132,33,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(133,33,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(134,33,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.0078125}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(135,33,'result','{"outcome": "ok", "initial_loss": 2.415681838989258, "final_loss": 2.1576173305511475, "best_loss": 2.1576173305511475, "train_curve": [2.334581136703491, 2.4779324531555176, 2.1579391956329346], "eval_curve": [[0, 2.415681838989258], [3, 2.1576173305511475]], "movement": {"1": 0.2611193305057305, "3": 0.37042546956433875}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.029221062999965852, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(136,34,'key','"34a6b2c58e6e1da1e263"');
INSERT INTO "trial_user_attributes" VALUES(137,34,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(138,34,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(139,34,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.0078125}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(140,34,'result','{"outcome": "ok", "initial_loss": 2.5826003551483154, "final_loss": 2.3519842624664307, "best_loss": 2.3519842624664307, "train_curve": [2.7218968868255615, 2.393244743347168, 2.311947822570801], "eval_curve": [[0, 2.5826003551483154], [3, 2.3519842624664307]], "movement": {"1": 0.21603547356262068, "3": 0.4159797764778245}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.029087672999992265, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(141,35,'key','"239944a218b19734f5b2"');
INSERT INTO "trial_user_attributes" VALUES(142,35,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(143,35,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(144,35,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.03125}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(145,35,'result','{"outcome": "ok", "initial_loss": 2.415681838989258, "final_loss": 1.7377963066101074, "best_loss": 1.7377963066101074, "train_curve": [2.334581136703491, 2.4200665950775146, 1.7744736671447754], "eval_curve": [[0, 2.415681838989258], [3, 1.7377963066101074]], "movement": {"1": 0.9454057620786447, "3": 1.152733455419406}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.014461025999992216, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(146,36,'key','"04574e4e8fc0c065e4c8"');
INSERT INTO "trial_user_attributes" VALUES(147,36,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(148,36,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(149,36,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.03125}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(150,36,'result','{"outcome": "ok", "initial_loss": 2.5826003551483154, "final_loss": 2.037321090698242, "best_loss": 2.037321090698242, "train_curve": [2.7218968868255615, 2.365952491760254, 2.079282760620117], "eval_curve": [[0, 2.5826003551483154], [3, 2.037321090698242]], "movement": {"1": 0.7855447568872612, "3": 1.2065844574317612}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.027351146999990306, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(151,37,'key','"a2aa692c2145499554d0"');
INSERT INTO "trial_user_attributes" VALUES(152,37,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(153,37,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(154,37,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.125}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(155,37,'result','{"outcome": "ok", "initial_loss": 2.415681838989258, "final_loss": 1.7009327411651611, "best_loss": 1.7009327411651611, "train_curve": [2.334581136703491, 2.9591336250305176, 1.8617908954620361], "eval_curve": [[0, 2.415681838989258], [3, 1.7009327411651611]], "movement": {"1": 3.3386308657364125, "3": 3.1611507093923468}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.024826833000020088, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(156,38,'key','"8a69e5231919b145b417"');
INSERT INTO "trial_user_attributes" VALUES(157,38,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(158,38,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(159,38,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.125}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(160,38,'result','{"outcome": "ok", "initial_loss": 2.5826003551483154, "final_loss": 1.795020580291748, "best_loss": 1.795020580291748, "train_curve": [2.7218968868255615, 2.8771796226501465, 1.9988503456115723], "eval_curve": [[0, 2.5826003551483154], [3, 1.795020580291748]], "movement": {"1": 2.8908595029762028, "3": 1.98616233489527}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.020326214999954573, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(161,39,'key','"68d2e3e84dca7bda66be"');
INSERT INTO "trial_user_attributes" VALUES(162,39,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(163,39,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(164,39,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.08838834764831845}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": true, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(165,39,'result','{"outcome": "ok", "initial_loss": 2.415681838989258, "final_loss": 1.4826579093933105, "best_loss": 1.4826579093933105, "train_curve": [2.334581136703491, 2.6284990310668945, 1.5697717666625977], "eval_curve": [[0, 2.415681838989258], [3, 1.4826579093933105]], "movement": {"1": 2.322673830141667, "3": 2.3312952789756807}, "looks": [{"step": 0, "size": {"1": 1.333830714225769, "3": 0.6972407102584839}, "change": {}, "effective": {}, "propagated": {}, "alignment": {}, "kernel_drift": 0.0, "kernel_distance": 0.0, "target_alignment": 0.2909484049709177}, {"step": 1, "size": {"1": 1.6896315813064575, "3": 1.1296019554138184}, "change": {"1": 1.3232223987579346, "3": 0.9746518135070801}, "effective": {"1": 1.3232223987579346, "3": 0.16801658272743225}, "propagated": {"1": 0.0, "3": 0.8630852103233337}, "alignment": {"1": 0.8122293247354873, "3": 0.6623978410379958}, "kernel_drift": 0.5620530374893351, "kernel_distance": 0.02187552964193907, "target_alignment": 0.2829215253306339}, {"step": 2, "size": {"1": 2.7257208824157715, "3": 1.3525100946426392}, "change": {"1": 2.6347110271453857, "3": 1.4664926528930664}, "effective": {"1": 2.6347110271453857, "3": 0.41019323468208313}, "propagated": {"1": 0.0, "3": 1.220132827758789}, "alignment": {"1": 0.806687837857456, "3": 0.6632102184521161}, "kernel_drift": 0.635621024974917, "kernel_distance": 0.03082806214994254, "target_alignment": 0.3041398105045705}, {"step": 3, "size": {"1": 3.157315254211426, "3": 1.4359071254730225}, "change": {"1": 3.0980536937713623, "3": 1.625473976135254}, "effective": {"1": 3.0980536937713623, "3": 0.539662778377533}, "propagated": {"1": 0.0, "3": 1.2909902334213257}, "alignment": {"1": 0.8004022249464964, "3": 0.6585400912070717}, "kernel_drift": 0.6117807415231628, "kernel_distance": 0.035641225973812946, "target_alignment": 0.322228187239194}], "n_parameters": 2410, "accumulate": 1, "seconds": 0.07492958299997099, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(166,40,'key','"62380e32362fde859c01"');
INSERT INTO "trial_user_attributes" VALUES(167,40,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(168,40,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(169,40,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.08838834764831845}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": true, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(170,40,'result','{"outcome": "ok", "initial_loss": 2.5826003551483154, "final_loss": 1.8005270957946777, "best_loss": 1.8005270957946777, "train_curve": [2.7218968868255615, 2.6019372940063477, 1.9521591663360596], "eval_curve": [[0, 2.5826003551483154], [3, 1.8005270957946777]], "movement": {"1": 1.9794273660097244, "3": 1.7365519601278454}, "looks": [{"step": 0, "size": {"1": 1.5203757286071777, "3": 0.5204742550849915}, "change": {}, "effective": {}, "propagated": {}, "alignment": {}, "kernel_drift": 0.0, "kernel_distance": 0.0, "target_alignment": 0.24898703891673593}, {"step": 1, "size": {"1": 2.0763633251190186, "3": 0.7881117463111877}, "change": {"1": 1.2480913400650024, "3": 0.7563815712928772}, "effective": {"1": 1.2480913400650024, "3": 0.1105884537100792}, "propagated": {"1": 0.0, "3": 0.6836123466491699}, "alignment": {"1": 0.8060928297662604, "3": 0.6275019837440232}, "kernel_drift": 0.3245846690176802, "kernel_distance": 0.05198486075980456, "target_alignment": 0.27671315075776054}, {"step": 2, "size": {"1": 3.0376176834106445, "3": 0.7164790630340576}, "change": {"1": 2.5039994716644287, "3": 0.7845134139060974}, "effective": {"1": 2.5039994716644287, "3": 0.1797448843717575}, "propagated": {"1": 0.0, "3": 0.7281597256660461}, "alignment": {"1": 0.7886986861737655, "3": 0.5330260394606974}, "kernel_drift": 0.4917815421092602, "kernel_distance": 0.07127348721875708, "target_alignment": 0.17716669141686622}, {"step": 3, "size": {"1": 3.4851489067077637, "3": 0.7995979189872742}, "change": {"1": 3.0094733238220215, "3": 0.9038305878639221}, "effective": {"1": 3.0094733238220215, "3": 0.24728834629058838}, "propagated": {"1": 0.0, "3": 0.8474171161651611}, "alignment": {"1": 0.7856715507964287, "3": 0.5424388540161409}, "kernel_drift": 0.4778710120626369, "kernel_distance": 0.04425840812088592, "target_alignment": 0.20828031834218869}], "n_parameters": 2410, "accumulate": 1, "seconds": 0.0813552120000054, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(171,41,'key','"ad62055bc2be46b1819f"');
INSERT INTO "trial_user_attributes" VALUES(172,41,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(173,41,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(174,41,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.052556025953357156}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(175,41,'result','{"outcome": "ok", "initial_loss": 2.415681838989258, "final_loss": 1.5609837770462036, "best_loss": 1.5609837770462036, "train_curve": [2.334581136703491, 2.439499616622925, 1.6205934286117554], "eval_curve": [[0, 2.415681838989258], [3, 1.5609837770462036]], "movement": {"1": 1.414392085500532, "3": 1.6040318153273474}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.04596204500001022, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(176,42,'key','"3183c13dbfce66aefd99"');
INSERT INTO "trial_user_attributes" VALUES(177,42,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(178,42,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(179,42,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.052556025953357156}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(180,42,'result','{"outcome": "ok", "initial_loss": 2.5826003551483154, "final_loss": 1.9124451875686646, "best_loss": 1.9124451875686646, "train_curve": [2.7218968868255615, 2.417555332183838, 2.0089919567108154], "eval_curve": [[0, 2.5826003551483154], [3, 1.9124451875686646]], "movement": {"1": 1.2218336506757652, "3": 1.492269507858869}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.028866859000004297, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(181,43,'key','"a7f4c49b3d5c80ff5e51"');
INSERT INTO "trial_user_attributes" VALUES(182,43,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(183,43,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(184,43,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.10511205190671431}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(185,43,'result','{"outcome": "ok", "initial_loss": 2.415681838989258, "final_loss": 1.5495930910110474, "best_loss": 1.5495930910110474, "train_curve": [2.334581136703491, 2.7625930309295654, 1.6541433334350586], "eval_curve": [[0, 2.415681838989258], [3, 1.5495930910110474]], "movement": {"1": 2.8337662144986724, "3": 2.737797277050867}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.025689861999978802, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(186,44,'key','"edfcc5fc86f36f305286"');
INSERT INTO "trial_user_attributes" VALUES(187,44,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(188,44,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(189,44,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.10511205190671431}, "parameterization": "mup", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(190,44,'result','{"outcome": "ok", "initial_loss": 2.5826003551483154, "final_loss": 1.7696387767791748, "best_loss": 1.7696387767791748, "train_curve": [2.7218968868255615, 2.718254566192627, 1.9398146867752075], "eval_curve": [[0, 2.5826003551483154], [3, 1.7696387767791748]], "movement": {"1": 2.3440635429215178, "3": 1.8507041082515117}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.02444803299999876, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(191,45,'key','"b8dcae3832515265d013"');
INSERT INTO "trial_user_attributes" VALUES(192,45,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(193,45,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(194,45,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.0078125}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(195,45,'result','{"outcome": "ok", "initial_loss": 3.4616615772247314, "final_loss": 2.6181623935699463, "best_loss": 2.6181623935699463, "train_curve": [3.3439862728118896, 2.9925570487976074, 2.932948112487793], "eval_curve": [[0, 3.4616615772247314], [3, 2.6181623935699463]], "movement": {"1": 0.300270685130133, "3": 0.4724192806714757}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.023653244000001905, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(196,46,'key','"462553cbb1a8e7773cbf"');
INSERT INTO "trial_user_attributes" VALUES(197,46,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(198,46,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(199,46,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.0078125}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(200,46,'result','{"outcome": "ok", "initial_loss": 2.7812469005584717, "final_loss": 2.3232343196868896, "best_loss": 2.3232343196868896, "train_curve": [3.006971597671509, 2.490718364715576, 2.6638681888580322], "eval_curve": [[0, 2.7812469005584717], [3, 2.3232343196868896]], "movement": {"1": 0.278994150637195, "3": 0.4682694075960118}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.02461169999997992, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(201,47,'key','"5b6ff11eb52fecdc7f7a"');
INSERT INTO "trial_user_attributes" VALUES(202,47,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(203,47,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(204,47,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.03125}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(205,47,'result','{"outcome": "ok", "initial_loss": 3.4616615772247314, "final_loss": 1.9567804336547852, "best_loss": 1.9567804336547852, "train_curve": [3.3439862728118896, 2.591844320297241, 2.146285057067871], "eval_curve": [[0, 3.4616615772247314], [3, 1.9567804336547852]], "movement": {"1": 0.978030319474729, "3": 1.1338194597873477}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.027883494999969116, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(206,48,'key','"b1e07e4ec695dd4802a8"');
INSERT INTO "trial_user_attributes" VALUES(207,48,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(208,48,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(209,48,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.03125}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(210,48,'result','{"outcome": "ok", "initial_loss": 2.7812469005584717, "final_loss": 2.026662588119507, "best_loss": 2.026662588119507, "train_curve": [3.006971597671509, 2.3517372608184814, 2.3050520420074463], "eval_curve": [[0, 2.7812469005584717], [3, 2.026662588119507]], "movement": {"1": 0.9695067365687473, "3": 0.9908134440271413}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.023868767000010394, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(211,49,'key','"2633a30e4bc68e6c02c2"');
INSERT INTO "trial_user_attributes" VALUES(212,49,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(213,49,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(214,49,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.125}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(215,49,'result','{"outcome": "ok", "initial_loss": 3.4616615772247314, "final_loss": 2.2133822441101074, "best_loss": 2.2133822441101074, "train_curve": [3.3439862728118896, 4.083085060119629, 2.948199510574341], "eval_curve": [[0, 3.4616615772247314], [3, 2.2133822441101074]], "movement": {"1": 3.12445639511107, "3": 1.8203911431538267}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.01144461000001229, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(216,50,'key','"058499a520d0e57a3c17"');
INSERT INTO "trial_user_attributes" VALUES(217,50,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(218,50,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(219,50,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.125}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(220,50,'result','{"outcome": "ok", "initial_loss": 2.7812469005584717, "final_loss": 2.0760791301727295, "best_loss": 2.0760791301727295, "train_curve": [3.006971597671509, 3.1440985202789307, 2.060852527618408], "eval_curve": [[0, 2.7812469005584717], [3, 2.0760791301727295]], "movement": {"1": 3.8085575367670677, "3": 1.3550983864209867}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.02112496199998759, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(221,51,'key','"9b53e156a40c6699af33"');
INSERT INTO "trial_user_attributes" VALUES(222,51,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(223,51,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(224,51,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.08838834764831845}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": true, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(225,51,'result','{"outcome": "ok", "initial_loss": 3.4616615772247314, "final_loss": 1.8582179546356201, "best_loss": 1.8582179546356201, "train_curve": [3.3439862728118896, 3.1064538955688477, 2.177258253097534], "eval_curve": [[0, 3.4616615772247314], [3, 1.8582179546356201]], "movement": {"1": 2.3281415391924156, "3": 1.4410416582397316}, "looks": [{"step": 0, "size": {"1": 1.4443525075912476, "3": 1.6327097415924072}, "change": {}, "effective": {}, "propagated": {}, "alignment": {}, "kernel_drift": 0.0, "kernel_distance": 0.0, "target_alignment": 0.3023310067431004}, {"step": 1, "size": {"1": 1.6670877933502197, "3": 1.9830187559127808}, "change": {"1": 1.4248229265213013, "3": 2.351928472518921}, "effective": {"1": 1.4248229265213013, "3": 0.31505462527275085}, "propagated": {"1": 0.0, "3": 2.101672887802124}, "alignment": {"1": 0.8345224735893002, "3": 0.6212218371067558}, "kernel_drift": 0.4764582625411522, "kernel_distance": 0.06265748136759566, "target_alignment": 0.36386674417530235}, {"step": 2, "size": {"1": 2.710444211959839, "3": 2.238234043121338}, "change": {"1": 2.920247793197632, "3": 2.4409353733062744}, "effective": {"1": 2.920247793197632, "3": 0.538576602935791}, "propagated": {"1": 0.0, "3": 2.143754720687866}, "alignment": {"1": 0.8325737051448971, "3": 0.5192019556448249}, "kernel_drift": 0.3084990722123594, "kernel_distance": 0.04304222677880899, "target_alignment": 0.30127077004378316}, {"step": 3, "size": {"1": 3.1917996406555176, "3": 2.0568759441375732}, "change": {"1": 3.362657070159912, "3": 2.3528027534484863}, "effective": {"1": 3.362657070159912, "3": 0.6092223525047302}, "propagated": {"1": 0.0, "3": 2.0676779747009277}, "alignment": {"1": 0.8262528506644963, "3": 0.5256959361746685}, "kernel_drift": 0.4796595450249707, "kernel_distance": 0.08506380936677999, "target_alignment": 0.27356418738080934}], "n_parameters": 1210, "accumulate": 1, "seconds": 0.05059655499997007, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(226,52,'key','"c053c9f9f3f1079815ab"');
INSERT INTO "trial_user_attributes" VALUES(227,52,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(228,52,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(229,52,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.08838834764831845}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": true, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(230,52,'result','{"outcome": "ok", "initial_loss": 2.7812469005584717, "final_loss": 1.8626518249511719, "best_loss": 1.8626518249511719, "train_curve": [3.006971597671509, 2.7001092433929443, 1.9398905038833618], "eval_curve": [[0, 2.7812469005584717], [3, 1.8626518249511719]], "movement": {"1": 2.496474554804227, "3": 1.2099009215847238}, "looks": [{"step": 0, "size": {"1": 1.3640047311782837, "3": 1.2575650215148926}, "change": {}, "effective": {}, "propagated": {}, "alignment": {}, "kernel_drift": 0.0, "kernel_distance": 0.0, "target_alignment": 0.23093450668140644}, {"step": 1, "size": {"1": 1.8615940809249878, "3": 0.9474306106567383}, "change": {"1": 1.4533581733703613, "3": 1.6504794359207153}, "effective": {"1": 1.4533581733703613, "3": 0.188613623380661}, "propagated": {"1": 0.0, "3": 1.5233477354049683}, "alignment": {"1": 0.8395060391207032, "3": 0.5772024356874567}, "kernel_drift": 0.5802130678168903, "kernel_distance": 0.08296629728635946, "target_alignment": 0.25571948992632426}, {"step": 2, "size": {"1": 2.966383934020996, "3": 0.6195000410079956}, "change": {"1": 2.8185160160064697, "3": 1.3586242198944092}, "effective": {"1": 2.8185160160064697, "3": 0.24921606481075287}, "propagated": {"1": 0.0, "3": 1.236431360244751}, "alignment": {"1": 0.823036106339653, "3": 0.5246287142294616}, "kernel_drift": 0.8026303229103795, "kernel_distance": 0.28208988655924755, "target_alignment": 0.11286206594046667}, {"step": 3, "size": {"1": 3.5067577362060547, "3": 1.1118577718734741}, "change": {"1": 3.405203104019165, "3": 1.5215290784835815}, "effective": {"1": 3.405203104019165, "3": 0.40542545914649963}, "propagated": {"1": 0.0, "3": 1.322563648223877}, "alignment": {"1": 0.8205817278706508, "3": 0.5271635680298592}, "kernel_drift": 0.677098811350363, "kernel_distance": 0.244148698622311, "target_alignment": 0.08710571116443015}], "n_parameters": 1210, "accumulate": 1, "seconds": 0.10319098700000495, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(231,53,'key','"76710cf085dd9cee246e"');
INSERT INTO "trial_user_attributes" VALUES(232,53,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(233,53,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(234,53,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.10511205190671431}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(235,53,'result','{"outcome": "ok", "initial_loss": 3.4616615772247314, "final_loss": 1.903785228729248, "best_loss": 1.903785228729248, "train_curve": [3.3439862728118896, 3.5041403770446777, 2.4328126907348633], "eval_curve": [[0, 3.4616615772247314], [3, 1.903785228729248]], "movement": {"1": 2.7156696453737164, "3": 1.5788535503595824}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.027530673000001116, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(236,54,'key','"412c069d8a5016adba1e"');
INSERT INTO "trial_user_attributes" VALUES(237,54,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(238,54,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(239,54,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.10511205190671431}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(240,54,'result','{"outcome": "ok", "initial_loss": 2.7812469005584717, "final_loss": 1.8136109113693237, "best_loss": 1.8136109113693237, "train_curve": [3.006971597671509, 2.8983311653137207, 1.9556680917739868], "eval_curve": [[0, 2.7812469005584717], [3, 1.8136109113693237]], "movement": {"1": 2.91197289728521, "3": 1.3438576501390624}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.020770337000044492, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(241,55,'key','"a36e1d9eee089b44fcdb"');
INSERT INTO "trial_user_attributes" VALUES(242,55,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(243,55,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(244,55,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.015625}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(245,55,'result','{"outcome": "ok", "initial_loss": 3.4616615772247314, "final_loss": 2.267548084259033, "best_loss": 2.267548084259033, "train_curve": [3.3439862728118896, 2.8224010467529297, 2.4963276386260986], "eval_curve": [[0, 3.4616615772247314], [3, 2.267548084259033]], "movement": {"1": 0.5643478140297045, "3": 0.8236660752114352}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.024591362000023764, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(246,56,'key','"571fb030f75bb254c05d"');
INSERT INTO "trial_user_attributes" VALUES(247,56,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(248,56,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(249,56,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 16, "base_width": 8, "hyperparameters": {"lr": 0.015625}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(250,56,'result','{"outcome": "ok", "initial_loss": 2.7812469005584717, "final_loss": 2.138845205307007, "best_loss": 2.138845205307007, "train_curve": [3.006971597671509, 2.414963960647583, 2.4595694541931152], "eval_curve": [[0, 2.7812469005584717], [3, 2.138845205307007]], "movement": {"1": 0.5297024995671686, "3": 0.7622642716712705}, "looks": [], "n_parameters": 1210, "accumulate": 1, "seconds": 0.022107234000031895, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(251,57,'key','"b08b82d0bc55656751aa"');
INSERT INTO "trial_user_attributes" VALUES(252,57,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(253,57,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(254,57,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.0078125}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(255,57,'result','{"outcome": "ok", "initial_loss": 2.9409284591674805, "final_loss": 2.249272584915161, "best_loss": 2.249272584915161, "train_curve": [2.794877052307129, 2.987792730331421, 2.2795040607452393], "eval_curve": [[0, 2.9409284591674805], [3, 2.249272584915161]], "movement": {"1": 0.2682783144813072, "3": 0.41853122624010514}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.023754432999965047, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(256,58,'key','"c9c2bb958cedb1efe2c6"');
INSERT INTO "trial_user_attributes" VALUES(257,58,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(258,58,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(259,58,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.0078125}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(260,58,'result','{"outcome": "ok", "initial_loss": 3.0954806804656982, "final_loss": 2.5008161067962646, "best_loss": 2.5008161067962646, "train_curve": [3.3973684310913086, 2.656641960144043, 2.3991572856903076], "eval_curve": [[0, 3.0954806804656982], [3, 2.5008161067962646]], "movement": {"1": 0.21737499212001785, "3": 0.4968048955870798}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.027730087999998432, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(261,59,'key','"898de8c0491d12206f89"');
INSERT INTO "trial_user_attributes" VALUES(262,59,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(263,59,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(264,59,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.03125}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(265,59,'result','{"outcome": "ok", "initial_loss": 2.9409284591674805, "final_loss": 1.5034153461456299, "best_loss": 1.5034153461456299, "train_curve": [2.794877052307129, 2.7673606872558594, 1.541765809059143], "eval_curve": [[0, 2.9409284591674805], [3, 1.5034153461456299]], "movement": {"1": 0.9354616947760132, "3": 1.2144265593458166}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.012520146999975168, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(266,60,'key','"ec3b1562a9c3cff9ad1b"');
INSERT INTO "trial_user_attributes" VALUES(267,60,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(268,60,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(269,60,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.03125}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(270,60,'result','{"outcome": "ok", "initial_loss": 3.0954806804656982, "final_loss": 1.9362614154815674, "best_loss": 1.9362614154815674, "train_curve": [3.3973684310913086, 2.529414653778076, 2.0005221366882324], "eval_curve": [[0, 3.0954806804656982], [3, 1.9362614154815674]], "movement": {"1": 0.7698434416123902, "3": 1.2219720344764364}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.024098288000004686, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(271,61,'key','"9b742953a3e9de26e9dc"');
INSERT INTO "trial_user_attributes" VALUES(272,61,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(273,61,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(274,61,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.125}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(275,61,'result','{"outcome": "ok", "initial_loss": 2.9409284591674805, "final_loss": 2.4982175827026367, "best_loss": 2.4982175827026367, "train_curve": [2.794877052307129, 4.40829610824585, 2.9288859367370605], "eval_curve": [[0, 2.9409284591674805], [3, 2.4982175827026367]], "movement": {"1": 3.49694123228179, "3": 3.1788392271407906}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.022348076000014316, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(276,62,'key','"10b77ff84da4e5b27f54"');
INSERT INTO "trial_user_attributes" VALUES(277,62,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(278,62,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(279,62,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.125}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(280,62,'result','{"outcome": "ok", "initial_loss": 3.0954806804656982, "final_loss": 1.6113345623016357, "best_loss": 1.6113345623016357, "train_curve": [3.3973684310913086, 4.169020175933838, 1.98227858543396], "eval_curve": [[0, 3.0954806804656982], [3, 1.6113345623016357]], "movement": {"1": 2.923465222541673, "3": 1.599673687078345}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.024237579000043752, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(281,63,'key','"b8e92467dbfe541036f4"');
INSERT INTO "trial_user_attributes" VALUES(282,63,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(283,63,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(284,63,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.08838834764831845}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": true, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(285,63,'result','{"outcome": "ok", "initial_loss": 2.9409284591674805, "final_loss": 1.7010955810546875, "best_loss": 1.7010955810546875, "train_curve": [2.794877052307129, 3.460872173309326, 2.235063314437866], "eval_curve": [[0, 2.9409284591674805], [3, 1.7010955810546875]], "movement": {"1": 2.3708286981935713, "3": 2.2398907551344456}, "looks": [{"step": 0, "size": {"1": 1.333830714225769, "3": 1.3944814205169678}, "change": {}, "effective": {}, "propagated": {}, "alignment": {}, "kernel_drift": 0.0, "kernel_distance": 0.0, "target_alignment": 0.2741553170467757}, {"step": 1, "size": {"1": 1.6247838735580444, "3": 2.0006027221679688}, "change": {"1": 1.3514677286148071, "3": 1.9605342149734497}, "effective": {"1": 1.3514677286148071, "3": 0.478073388338089}, "propagated": {"1": 0.0, "3": 1.6581441164016724}, "alignment": {"1": 0.817401448436435, "3": 0.6457168751968784}, "kernel_drift": 0.4205994457376333, "kernel_distance": 0.01753450487316464, "target_alignment": 0.2823494952661478}, {"step": 2, "size": {"1": 2.721510887145996, "3": 2.651942729949951}, "change": {"1": 2.702953577041626, "3": 3.073092460632324}, "effective": {"1": 2.702953577041626, "3": 1.083889126777649}, "propagated": {"1": 0.0, "3": 2.2925803661346436}, "alignment": {"1": 0.8148275414753556, "3": 0.6058513586481098}, "kernel_drift": 0.655906789734533, "kernel_distance": 0.03850841966753079, "target_alignment": 0.33622045076168194}, {"step": 3, "size": {"1": 3.1738338470458984, "3": 2.6020565032958984}, "change": {"1": 3.1622841358184814, "3": 3.123486042022705}, "effective": {"1": 3.1622841358184814, "3": 1.1768019199371338}, "propagated": {"1": 0.0, "3": 2.279428005218506}, "alignment": {"1": 0.8104528896600849, "3": 0.5691129442320313}, "kernel_drift": 0.6004188602230388, "kernel_distance": 0.05085088582103852, "target_alignment": 0.29846113111626676}], "n_parameters": 2410, "accumulate": 1, "seconds": 0.09040095400001746, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(286,64,'key','"22595409594597498c78"');
INSERT INTO "trial_user_attributes" VALUES(287,64,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(288,64,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(289,64,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.08838834764831845}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": true, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(290,64,'result','{"outcome": "ok", "initial_loss": 3.0954806804656982, "final_loss": 1.5768378973007202, "best_loss": 1.5768378973007202, "train_curve": [3.3973684310913086, 3.244898796081543, 1.8138502836227417], "eval_curve": [[0, 3.0954806804656982], [3, 1.5768378973007202]], "movement": {"1": 2.0054463613927607, "3": 1.4299190493384817}, "looks": [{"step": 0, "size": {"1": 1.5203757286071777, "3": 1.040948510169983}, "change": {}, "effective": {}, "propagated": {}, "alignment": {}, "kernel_drift": 0.0, "kernel_distance": 0.0, "target_alignment": 0.2671792536979885}, {"step": 1, "size": {"1": 2.052288293838501, "3": 1.6078085899353027}, "change": {"1": 1.2505923509597778, "3": 1.7343333959579468}, "effective": {"1": 1.2505923509597778, "3": 0.31998884677886963}, "propagated": {"1": 0.0, "3": 1.5199637413024902}, "alignment": {"1": 0.8067210539242694, "3": 0.6140958782899738}, "kernel_drift": 0.2900372108240302, "kernel_distance": 0.0417355347026149, "target_alignment": 0.3678387443853944}, {"step": 2, "size": {"1": 3.0260164737701416, "3": 0.99809330701828}, "change": {"1": 2.501222610473633, "3": 1.3738614320755005}, "effective": {"1": 2.501222610473633, "3": 0.4872743785381317}, "propagated": {"1": 0.0, "3": 1.1637804508209229}, "alignment": {"1": 0.7909696246728624, "3": 0.5674038947084642}, "kernel_drift": 0.6918902982225866, "kernel_distance": 0.1371038108688259, "target_alignment": 0.2670471300823942}, {"step": 3, "size": {"1": 3.5152804851531982, "3": 1.0544582605361938}, "change": {"1": 3.049031972885132, "3": 1.4884721040725708}, "effective": {"1": 3.049031972885132, "3": 0.566624641418457}, "propagated": {"1": 0.0, "3": 1.2851649522781372}, "alignment": {"1": 0.789970928736598, "3": 0.5379517477475166}, "kernel_drift": 0.6859326778874618, "kernel_distance": 0.13542535043001264, "target_alignment": 0.31446472090703104}], "n_parameters": 2410, "accumulate": 1, "seconds": 0.08939409499998874, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(291,65,'key','"06489d72f33071cd1dc1"');
INSERT INTO "trial_user_attributes" VALUES(292,65,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(293,65,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(294,65,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.10511205190671431}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(295,65,'result','{"outcome": "ok", "initial_loss": 2.9409284591674805, "final_loss": 1.9316753149032593, "best_loss": 1.9316753149032593, "train_curve": [2.794877052307129, 3.851701021194458, 2.469820737838745], "eval_curve": [[0, 2.9409284591674805], [3, 1.9316753149032593]], "movement": {"1": 2.830921094437269, "3": 2.635778411555445}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.020198344999982965, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(296,66,'key','"4c3d93b21370df4f28e6"');
INSERT INTO "trial_user_attributes" VALUES(297,66,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(298,66,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(299,66,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.10511205190671431}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(300,66,'result','{"outcome": "ok", "initial_loss": 3.0954806804656982, "final_loss": 1.5835554599761963, "best_loss": 1.5835554599761963, "train_curve": [3.3973684310913086, 3.64294695854187, 1.9053159952163696], "eval_curve": [[0, 3.0954806804656982], [3, 1.5835554599761963]], "movement": {"1": 2.4206931937967524, "3": 1.475536665884496}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.024007396999991215, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(301,67,'key','"f743e17ee52c64a4b5c6"');
INSERT INTO "trial_user_attributes" VALUES(302,67,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(303,67,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(304,67,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.015625}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 0, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(305,67,'result','{"outcome": "ok", "initial_loss": 2.9409284591674805, "final_loss": 1.8628932237625122, "best_loss": 1.8628932237625122, "train_curve": [2.794877052307129, 2.8800504207611084, 1.9116628170013428], "eval_curve": [[0, 2.9409284591674805], [3, 1.8628932237625122]], "movement": {"1": 0.5227579664747011, "3": 0.7482485960130137}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.024280409000027703, "device": "cpu"}');
INSERT INTO "trial_user_attributes" VALUES(306,68,'key','"362122a9ec0c2ed8b0f8"');
INSERT INTO "trial_user_attributes" VALUES(307,68,'outcome','"ok"');
INSERT INTO "trial_user_attributes" VALUES(308,68,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(309,68,'spec','{"task": "DigitsMLP(hidden_layers=1, batch_size=32, n_train=256, eval_on=''train'')", "width": 32, "base_width": 8, "hyperparameters": {"lr": 0.015625}, "parameterization": "sp", "optimizer": "adam", "form": "forward", "wd_policy": "independent", "scale_eps": true, "seed": 1, "steps": 3, "schedule": "linear", "warmup_steps": 1, "eval_every": 0, "accumulate": 1, "precision": "float32", "clip_norm": 0.0, "watched": false, "batch_size": 0}');
INSERT INTO "trial_user_attributes" VALUES(310,68,'result','{"outcome": "ok", "initial_loss": 3.0954806804656982, "final_loss": 2.1851229667663574, "best_loss": 2.1851229667663574, "train_curve": [3.3973684310913086, 2.586268186569214, 2.1588239669799805], "eval_curve": [[0, 3.0954806804656982], [3, 2.1851229667663574]], "movement": {"1": 0.41542105449685884, "3": 0.8391716136388128}, "looks": [], "n_parameters": 2410, "accumulate": 1, "seconds": 0.02434417899996788, "device": "cpu"}');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,2.72011470794677734375e+00,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,2.58082175254821777343e+00,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,2.12036371231079101562e+00,'FINITE');
INSERT INTO "trial_values" VALUES(4,4,0,2.20660185813903808593e+00,'FINITE');
INSERT INTO "trial_values" VALUES(5,5,0,2.00502467155456542968e+00,'FINITE');
INSERT INTO "trial_values" VALUES(6,6,0,2.11125802993774414062e+00,'FINITE');
INSERT INTO "trial_values" VALUES(7,7,0,2.43273019790649414062e+00,'FINITE');
INSERT INTO "trial_values" VALUES(8,8,0,2.40543293952941894531e+00,'FINITE');
INSERT INTO "trial_values" VALUES(9,9,0,2.34075641632080078125e+00,'FINITE');
INSERT INTO "trial_values" VALUES(10,10,0,2.35784864425659179687e+00,'FINITE');
INSERT INTO "trial_values" VALUES(11,11,0,2.29546380043029785156e+00,'FINITE');
INSERT INTO "trial_values" VALUES(12,12,0,2.32710480690002441406e+00,'FINITE');
INSERT INTO "trial_values" VALUES(13,13,0,2.65046823024749755859e+00,'FINITE');
INSERT INTO "trial_values" VALUES(14,14,0,2.34930253028869628906e+00,'FINITE');
INSERT INTO "trial_values" VALUES(15,15,0,2.16348278522491455078e+00,'FINITE');
INSERT INTO "trial_values" VALUES(16,16,0,2.05814135074615478515e+00,'FINITE');
INSERT INTO "trial_values" VALUES(17,17,0,2.31128430366516113281e+00,'FINITE');
INSERT INTO "trial_values" VALUES(18,18,0,2.41908156871795654296e+00,'FINITE');
INSERT INTO "trial_values" VALUES(19,19,0,2.14409852027893066406e+00,'FINITE');
INSERT INTO "trial_values" VALUES(20,20,0,2.12150263786315917968e+00,'FINITE');
INSERT INTO "trial_values" VALUES(21,21,0,2.45224761962890625e+00,'FINITE');
INSERT INTO "trial_values" VALUES(22,22,0,2.27011752128601074218e+00,'FINITE');
INSERT INTO "trial_values" VALUES(23,23,0,1.97887003421783447265e+00,'FINITE');
INSERT INTO "trial_values" VALUES(24,24,0,2.05000162124633789062e+00,'FINITE');
INSERT INTO "trial_values" VALUES(25,25,0,1.87661457061767578125e+00,'FINITE');
INSERT INTO "trial_values" VALUES(26,26,0,1.97202539443969726562e+00,'FINITE');
INSERT INTO "trial_values" VALUES(27,27,0,1.77579629421234130859e+00,'FINITE');
INSERT INTO "trial_values" VALUES(28,28,0,1.92296743392944335937e+00,'FINITE');
INSERT INTO "trial_values" VALUES(29,29,0,1.80067551136016845703e+00,'FINITE');
INSERT INTO "trial_values" VALUES(30,30,0,1.99182462692260742187e+00,'FINITE');
INSERT INTO "trial_values" VALUES(31,31,0,2.20287013053894042968e+00,'FINITE');
INSERT INTO "trial_values" VALUES(32,32,0,2.14926457405090332031e+00,'FINITE');
INSERT INTO "trial_values" VALUES(33,33,0,2.15761733055114746093e+00,'FINITE');
INSERT INTO "trial_values" VALUES(34,34,0,2.35198426246643066406e+00,'FINITE');
INSERT INTO "trial_values" VALUES(35,35,0,1.73779630661010742187e+00,'FINITE');
INSERT INTO "trial_values" VALUES(36,36,0,2.0373210906982421875e+00,'FINITE');
INSERT INTO "trial_values" VALUES(37,37,0,1.70093274116516113281e+00,'FINITE');
INSERT INTO "trial_values" VALUES(38,38,0,1.79502058029174804687e+00,'FINITE');
INSERT INTO "trial_values" VALUES(39,39,0,1.48265790939331054687e+00,'FINITE');
INSERT INTO "trial_values" VALUES(40,40,0,1.80052709579467773437e+00,'FINITE');
INSERT INTO "trial_values" VALUES(41,41,0,1.56098377704620361328e+00,'FINITE');
INSERT INTO "trial_values" VALUES(42,42,0,1.91244518756866455078e+00,'FINITE');
INSERT INTO "trial_values" VALUES(43,43,0,1.54959309101104736328e+00,'FINITE');
INSERT INTO "trial_values" VALUES(44,44,0,1.76963877677917480468e+00,'FINITE');
INSERT INTO "trial_values" VALUES(45,45,0,2.61816239356994628906e+00,'FINITE');
INSERT INTO "trial_values" VALUES(46,46,0,2.32323431968688964843e+00,'FINITE');
INSERT INTO "trial_values" VALUES(47,47,0,1.95678043365478515625e+00,'FINITE');
INSERT INTO "trial_values" VALUES(48,48,0,2.02666258811950683593e+00,'FINITE');
INSERT INTO "trial_values" VALUES(49,49,0,2.21338224411010742187e+00,'FINITE');
INSERT INTO "trial_values" VALUES(50,50,0,2.07607913017272949218e+00,'FINITE');
INSERT INTO "trial_values" VALUES(51,51,0,1.85821795463562011718e+00,'FINITE');
INSERT INTO "trial_values" VALUES(52,52,0,1.862651824951171875e+00,'FINITE');
INSERT INTO "trial_values" VALUES(53,53,0,1.90378522872924804687e+00,'FINITE');
INSERT INTO "trial_values" VALUES(54,54,0,1.81361091136932373046e+00,'FINITE');
INSERT INTO "trial_values" VALUES(55,55,0,2.26754808425903320312e+00,'FINITE');
INSERT INTO "trial_values" VALUES(56,56,0,2.13884520530700683593e+00,'FINITE');
INSERT INTO "trial_values" VALUES(57,57,0,2.24927258491516113281e+00,'FINITE');
INSERT INTO "trial_values" VALUES(58,58,0,2.50081610679626464843e+00,'FINITE');
INSERT INTO "trial_values" VALUES(59,59,0,1.50341534614562988281e+00,'FINITE');
INSERT INTO "trial_values" VALUES(60,60,0,1.93626141548156738281e+00,'FINITE');
INSERT INTO "trial_values" VALUES(61,61,0,2.49821758270263671875e+00,'FINITE');
INSERT INTO "trial_values" VALUES(62,62,0,1.61133456230163574218e+00,'FINITE');
INSERT INTO "trial_values" VALUES(63,63,0,1.7010955810546875e+00,'FINITE');
INSERT INTO "trial_values" VALUES(64,64,0,1.57683789730072021484e+00,'FINITE');
INSERT INTO "trial_values" VALUES(65,65,0,1.93167531490325927734e+00,'FINITE');
INSERT INTO "trial_values" VALUES(66,66,0,1.58355545997619628906e+00,'FINITE');
INSERT INTO "trial_values" VALUES(67,67,0,1.86289322376251220703e+00,'FINITE');
INSERT INTO "trial_values" VALUES(68,68,0,2.18512296676635742187e+00,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,2,'COMPLETE','2026-11-28 07:05:28.011008','2026-11-28 07:05:28.011008');
INSERT INTO "trials" VALUES(2,1,2,'COMPLETE','2026-11-28 07:05:28.119213','2026-11-28 07:05:28.119213');
INSERT INTO "trials" VALUES(3,2,2,'COMPLETE','2026-11-28 07:05:28.175738','2026-11-28 07:05:28.175738');
INSERT INTO "trials" VALUES(4,3,2,'COMPLETE','2026-11-28 07:05:28.200612','2026-11-28 07:05:28.200612');
INSERT INTO "trials" VALUES(5,4,2,'COMPLETE','2026-11-28 07:05:28.226008','2026-11-28 07:05:28.226008');
INSERT INTO "trials" VALUES(6,5,2,'COMPLETE','2026-11-28 07:05:28.250696','2026-11-28 07:05:28.250696');
INSERT INTO "trials" VALUES(7,6,2,'COMPLETE','2026-11-28 07:05:28.310901','2026-11-28 07:05:28.310901');
INSERT INTO "trials" VALUES(8,7,2,'COMPLETE','2026-11-28 07:05:28.335988','2026-11-28 07:05:28.335988');
INSERT INTO "trials" VALUES(9,8,2,'COMPLETE','2026-11-28 07:05:28.378200','2026-11-28 07:05:28.378200');
INSERT INTO "trials" VALUES(10,9,2,'COMPLETE','2026-11-28 07:05:28.402534','2026-11-28 07:05:28.402534');
INSERT INTO "trials" VALUES(11,10,2,'COMPLETE','2026-11-28 07:05:28.427182','2026-11-28 07:05:28.427182');
INSERT INTO "trials" VALUES(12,11,2,'COMPLETE','2026-11-28 07:05:28.454114','2026-11-28 07:05:28.454114');
INSERT INTO "trials" VALUES(13,0,1,'COMPLETE','2026-11-28 07:05:28.484460','2026-11-28 07:05:28.484460');
INSERT INTO "trials" VALUES(14,1,1,'COMPLETE','2026-11-28 07:05:28.494311','2026-11-28 07:05:28.494311');
INSERT INTO "trials" VALUES(15,2,1,'COMPLETE','2026-11-28 07:05:28.502543','2026-11-28 07:05:28.502543');
INSERT INTO "trials" VALUES(16,3,1,'COMPLETE','2026-11-28 07:05:28.510410','2026-11-28 07:05:28.510410');
INSERT INTO "trials" VALUES(17,4,1,'COMPLETE','2026-11-28 07:05:28.518381','2026-11-28 07:05:28.518381');
INSERT INTO "trials" VALUES(18,5,1,'COMPLETE','2026-11-28 07:05:28.528341','2026-11-28 07:05:28.528341');
INSERT INTO "trials" VALUES(19,12,2,'COMPLETE','2026-11-28 07:05:28.618131','2026-11-28 07:05:28.618131');
INSERT INTO "trials" VALUES(20,13,2,'COMPLETE','2026-11-28 07:05:28.671834','2026-11-28 07:05:28.671834');
INSERT INTO "trials" VALUES(21,0,3,'COMPLETE','2026-11-28 07:05:28.793434','2026-11-28 07:05:28.793434');
INSERT INTO "trials" VALUES(22,1,3,'COMPLETE','2026-11-28 07:05:28.817831','2026-11-28 07:05:28.817831');
INSERT INTO "trials" VALUES(23,2,3,'COMPLETE','2026-11-28 07:05:28.842445','2026-11-28 07:05:28.842445');
INSERT INTO "trials" VALUES(24,3,3,'COMPLETE','2026-11-28 07:05:28.887825','2026-11-28 07:05:28.887825');
INSERT INTO "trials" VALUES(25,4,3,'COMPLETE','2026-11-28 07:05:28.947319','2026-11-28 07:05:28.947319');
INSERT INTO "trials" VALUES(26,5,3,'COMPLETE','2026-11-28 07:05:29.005840','2026-11-28 07:05:29.005840');
INSERT INTO "trials" VALUES(27,6,3,'COMPLETE','2026-11-28 07:05:29.156538','2026-11-28 07:05:29.156538');
INSERT INTO "trials" VALUES(28,7,3,'COMPLETE','2026-11-28 07:05:29.325039','2026-11-28 07:05:29.325039');
INSERT INTO "trials" VALUES(29,8,3,'COMPLETE','2026-11-28 07:05:29.403181','2026-11-28 07:05:29.403181');
INSERT INTO "trials" VALUES(30,9,3,'COMPLETE','2026-11-28 07:05:29.465359','2026-11-28 07:05:29.465359');
INSERT INTO "trials" VALUES(31,10,3,'COMPLETE','2026-11-28 07:05:29.528588','2026-11-28 07:05:29.528588');
INSERT INTO "trials" VALUES(32,11,3,'COMPLETE','2026-11-28 07:05:29.596394','2026-11-28 07:05:29.596394');
INSERT INTO "trials" VALUES(33,0,4,'COMPLETE','2026-11-28 07:05:29.894246','2026-11-28 07:05:29.894246');
INSERT INTO "trials" VALUES(34,1,4,'COMPLETE','2026-11-28 07:05:29.981446','2026-11-28 07:05:29.981446');
INSERT INTO "trials" VALUES(35,2,4,'COMPLETE','2026-11-28 07:05:30.058839','2026-11-28 07:05:30.058839');
INSERT INTO "trials" VALUES(36,3,4,'COMPLETE','2026-11-28 07:05:30.123580','2026-11-28 07:05:30.123580');
INSERT INTO "trials" VALUES(37,4,4,'COMPLETE','2026-11-28 07:05:30.192782','2026-11-28 07:05:30.192782');
INSERT INTO "trials" VALUES(38,5,4,'COMPLETE','2026-11-28 07:05:30.260346','2026-11-28 07:05:30.260346');
INSERT INTO "trials" VALUES(39,6,4,'COMPLETE','2026-11-28 07:05:30.379931','2026-11-28 07:05:30.379931');
INSERT INTO "trials" VALUES(40,7,4,'COMPLETE','2026-11-28 07:05:30.494388','2026-11-28 07:05:30.494388');
INSERT INTO "trials" VALUES(41,8,4,'COMPLETE','2026-11-28 07:05:30.645275','2026-11-28 07:05:30.645275');
INSERT INTO "trials" VALUES(42,9,4,'COMPLETE','2026-11-28 07:05:30.729335','2026-11-28 07:05:30.729335');
INSERT INTO "trials" VALUES(43,10,4,'COMPLETE','2026-11-28 07:05:30.811554','2026-11-28 07:05:30.811554');
INSERT INTO "trials" VALUES(44,11,4,'COMPLETE','2026-11-28 07:05:30.900920','2026-11-28 07:05:30.900920');
INSERT INTO "trials" VALUES(45,0,5,'COMPLETE','2026-11-28 07:05:31.429557','2026-11-28 07:05:31.429557');
INSERT INTO "trials" VALUES(46,1,5,'COMPLETE','2026-11-28 07:05:31.516912','2026-11-28 07:05:31.516912');
INSERT INTO "trials" VALUES(47,2,5,'COMPLETE','2026-11-28 07:05:31.600160','2026-11-28 07:05:31.600160');
INSERT INTO "trials" VALUES(48,3,5,'COMPLETE','2026-11-28 07:05:31.679893','2026-11-28 07:05:31.679893');
INSERT INTO "trials" VALUES(49,4,5,'COMPLETE','2026-11-28 07:05:31.725407','2026-11-28 07:05:31.725407');
INSERT INTO "trials" VALUES(50,5,5,'COMPLETE','2026-11-28 07:05:31.777372','2026-11-28 07:05:31.777372');
INSERT INTO "trials" VALUES(51,6,5,'COMPLETE','2026-11-28 07:05:31.879286','2026-11-28 07:05:31.879286');
INSERT INTO "trials" VALUES(52,7,5,'COMPLETE','2026-11-28 07:05:32.015802','2026-11-28 07:05:32.015802');
INSERT INTO "trials" VALUES(53,8,5,'COMPLETE','2026-11-28 07:05:32.131718','2026-11-28 07:05:32.131718');
INSERT INTO "trials" VALUES(54,9,5,'COMPLETE','2026-11-28 07:05:32.209088','2026-11-28 07:05:32.209088');
INSERT INTO "trials" VALUES(55,10,5,'COMPLETE','2026-11-28 07:05:32.292813','2026-11-28 07:05:32.292813');
INSERT INTO "trials" VALUES(56,11,5,'COMPLETE','2026-11-28 07:05:32.360409','2026-11-28 07:05:32.360409');
INSERT INTO "trials" VALUES(57,0,6,'COMPLETE','2026-11-28 07:05:32.627942','2026-11-28 07:05:32.627942');
INSERT INTO "trials" VALUES(58,1,6,'COMPLETE','2026-11-28 07:05:32.680717','2026-11-28 07:05:32.680717');
INSERT INTO "trials" VALUES(59,2,6,'COMPLETE','2026-11-28 07:05:32.726541','2026-11-28 07:05:32.726541');
INSERT INTO "trials" VALUES(60,3,6,'COMPLETE','2026-11-28 07:05:32.780334','2026-11-28 07:05:32.780334');
INSERT INTO "trials" VALUES(61,4,6,'COMPLETE','2026-11-28 07:05:32.849731','2026-11-28 07:05:32.849731');
INSERT INTO "trials" VALUES(62,5,6,'COMPLETE','2026-11-28 07:05:32.928412','2026-11-28 07:05:32.928412');
INSERT INTO "trials" VALUES(63,6,6,'COMPLETE','2026-11-28 07:05:33.079054','2026-11-28 07:05:33.079054');
INSERT INTO "trials" VALUES(64,7,6,'COMPLETE','2026-11-28 07:05:33.217758','2026-11-28 07:05:33.217758');
INSERT INTO "trials" VALUES(65,8,6,'COMPLETE','2026-11-28 07:05:33.316432','2026-11-28 07:05:33.316432');
INSERT INTO "trials" VALUES(66,9,6,'COMPLETE','2026-11-28 07:05:33.391782','2026-11-28 07:05:33.391782');
INSERT INTO "trials" VALUES(67,10,6,'COMPLETE','2026-11-28 07:05:33.464612','2026-11-28 07:05:33.464612');
INSERT INTO "trials" VALUES(68,11,6,'COMPLETE','2026-11-28 07:05:33.548824','2026-11-28 07:05:33.548824');
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
