MERGE (model:BrainModel {key: 'vectors'})
SET model.model = $model, model.dimensions = $dimensions, model.is_alone = $is_alone
