MERGE (project:Project {id: $project_id})
ON CREATE SET project.revision = 0, project.epoch = 0
MERGE (department:Department {project_id: $project_id, slug: $slug})
MERGE (project)-[:HAS]->(department)
MERGE (evaluation:Evaluation {project_id: $project_id, department: $slug, version: $version})
SET evaluation = $properties
MERGE (department)-[:EVALUATED_AS]->(evaluation)
