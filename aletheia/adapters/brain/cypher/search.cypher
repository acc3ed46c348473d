CALL db.index.vector.queryNodes('aletheia_item_vector', $max_found, $vector) YIELD node, score
RETURN
  node.id AS id,
  score,
  node.project_id = $project_id AND node.model = $model AS is_ours
