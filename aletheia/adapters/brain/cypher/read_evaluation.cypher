MATCH (evaluation:Evaluation {project_id: $project_id, department: $slug, version: $version})
RETURN evaluation.body AS body
