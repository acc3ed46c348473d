MATCH (model:BrainModel {key: 'vectors'})
RETURN model.model AS model, model.dimensions AS dimensions, model.is_alone AS is_alone
