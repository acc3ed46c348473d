// The project is locked from here to the end, so that writers of one project follow each other.
MERGE (project:Project {id: $project_id})
ON CREATE SET project.revision = 0, project.epoch = toInteger(rand() * 1000000000)
SET project.epoch = project.epoch
MERGE (department:Department {project_id: $project_id, slug: $slug})
MERGE (project)-[:HAS]->(department)
MERGE (evaluation:Evaluation {project_id: $project_id, department: $slug, version: $version})
SET evaluation = $properties
MERGE (department)-[:EVALUATED_AS]->(evaluation)
