MATCH (project:Project {id: $project_id})
SET project.epoch = project.epoch + 1
WITH project
UNWIND $ids AS id
MATCH (item:Item {project_id: $project_id, id: id})
DETACH DELETE item
RETURN count(*) AS deleted
