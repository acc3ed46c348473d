MATCH (model:BrainModel {key: 'vectors'})
MATCH (project:Project {id: $project_id})
RETURN
  model.model AS model,
  model.dimensions AS dimensions,
  project.revision AS revision,
  project.epoch AS epoch,
  reduce(n = 0, of IN [(project)-[:HAS]->(d:Department) | COUNT { (d)-[:HAS]->() }] | n + of) AS items
