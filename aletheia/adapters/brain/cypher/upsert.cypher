// The project is locked from here to the end, so that writers of one project follow each other.
MERGE (project:Project {id: $project_id})
ON CREATE SET project.revision = 0, project.epoch = toInteger(rand() * 1000000000)
SET project.revision = project.revision + 1
MERGE (department:Department {project_id: $project_id, slug: $slug})
SET department.name = $name, department.code_dep_number = $code_dep_number
MERGE (project)-[:HAS]->(department)
WITH department, project.revision AS revision
UNWIND $items AS given
MERGE (item:Item {project_id: $project_id, id: given.id})
ON CREATE SET item.order = given.order, item.since = revision
WITH department, revision, given, item, item.department AS before
SET item += given.properties, item.revision = revision, item.model = $model, item.department = $slug
FOREACH (_ IN CASE WHEN before IS NULL THEN [1] ELSE [] END |
  CREATE (department)-[:HAS]->(item)
)
WITH department, revision, item, before
CALL (department, item, before) {
  WITH department, item, before
  WHERE before <> department.slug
  MATCH (:Department)-[held:HAS]->(item)
  DELETE held
  CREATE (department)-[:HAS]->(item)
}
RETURN count(*) AS written, sum(CASE item.since WHEN revision THEN 1 ELSE 0 END) AS created
