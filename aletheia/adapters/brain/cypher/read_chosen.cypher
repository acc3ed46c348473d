UNWIND $ids AS id
MATCH (item:Item {project_id: $project_id, id: id})
WHERE item.model = $model
RETURN item.id AS id, item.content AS content, item.vector AS vector
