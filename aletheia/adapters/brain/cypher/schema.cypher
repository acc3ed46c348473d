CREATE CONSTRAINT aletheia_model IF NOT EXISTS
FOR (model:BrainModel) REQUIRE model.key IS UNIQUE;

CREATE CONSTRAINT aletheia_project IF NOT EXISTS
FOR (project:Project) REQUIRE project.id IS UNIQUE;

CREATE CONSTRAINT aletheia_department IF NOT EXISTS
FOR (department:Department) REQUIRE (department.project_id, department.slug) IS UNIQUE;

CREATE CONSTRAINT aletheia_item IF NOT EXISTS
FOR (item:Item) REQUIRE (item.project_id, item.id) IS UNIQUE;

CREATE CONSTRAINT aletheia_evaluation IF NOT EXISTS
FOR (evaluation:Evaluation)
REQUIRE (evaluation.project_id, evaluation.department, evaluation.version) IS UNIQUE;

// What was written after a revision.
CREATE INDEX aletheia_item_revision IF NOT EXISTS
FOR (item:Item) ON (item.project_id, item.revision)
