OPTIONAL MATCH (model:BrainModel {key: 'vectors'})
WITH model.model AS model
MATCH (item:Item)
WHERE item.project_id = $project_id AND item.id > $after
RETURN
  item.id AS id,
  item.department AS department,
  item.fingerprint AS fingerprint,
  coalesce(item.model = model, false) AS has_vector
ORDER BY item.id
LIMIT $limit
