// All items of all projects: there is nothing to look up by.
MATCH (item:Item)
WHERE item.vector IS NOT NULL AND (item.model <> $model OR size(item.vector) <> $dimensions)
CALL (item) {
  REMOVE item.vector, item.model
} IN TRANSACTIONS OF 1000 ROWS
