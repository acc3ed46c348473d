MATCH (item:Item)
WHERE item.project_id = $project_id AND item.revision > $revision AND item.model = $model
RETURN item.id AS id, item.vector AS vector
