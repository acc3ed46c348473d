// The project is locked from here to the end, so that writers of one project follow each other.
MATCH (project:Project {id: $project_id})
SET project.epoch = project.epoch
WITH project
CALL (project) {
  UNWIND $ids AS id
  MATCH (item:Item {project_id: $project_id, id: id})
  DETACH DELETE item
  RETURN count(*) AS deleted
}
SET project.epoch = project.epoch + sign(deleted)
RETURN deleted
