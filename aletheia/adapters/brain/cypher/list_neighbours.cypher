MATCH (:Item {project_id: $project_id, id: $id})-[edge:SIMILAR]->(other:Item)
RETURN other.id AS id, edge.cosine AS cosine, other.content AS content
ORDER BY cosine DESC, id
