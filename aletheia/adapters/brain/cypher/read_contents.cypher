UNWIND $ids AS id
MATCH (item:Item {project_id: $project_id, id: id})
RETURN item.id AS id, item.content AS content
