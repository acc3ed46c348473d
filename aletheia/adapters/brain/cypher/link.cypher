UNWIND $links AS link
MATCH (item:Item {project_id: $project_id, id: link.id})
CALL (item) {
  MATCH (item)-[old:SIMILAR]->(:Item)
  DELETE old
}
WITH item, link
UNWIND link.near AS near
MATCH (other:Item {project_id: $project_id, id: near.id})
CREATE (item)-[:SIMILAR {cosine: near.cosine}]->(other)
RETURN count(*) AS edges
