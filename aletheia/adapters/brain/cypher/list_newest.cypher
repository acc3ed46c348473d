MATCH (:Department {project_id: $project_id, slug: $slug})-[:HAS]->(item:Item)
RETURN item.id AS id, item.content AS content, item.summary AS summary, item.context AS context
ORDER BY item.order DESC, id
LIMIT $limit
