UNWIND $ids AS id
MATCH (item:Item {project_id: $project_id, id: id})
WHERE item.model = $model
CALL (item) {
  CALL db.index.vector.queryNodes('aletheia_item_vector', $max_found, item.vector) YIELD node, score
  WITH node, 2 * score - 1 AS cosine
  WHERE node.project_id = $project_id AND node.model = $model AND node.id <> item.id
    AND cosine >= $min_cosine
  ORDER BY cosine DESC, node.id
  LIMIT $limit
  RETURN collect({id: node.id, cosine: cosine}) AS near
}
RETURN item.id AS id, near
