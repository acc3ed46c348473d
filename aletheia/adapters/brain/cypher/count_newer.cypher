MATCH (item:Item)
WHERE item.project_id = $project_id AND item.revision > $revision
RETURN count(item) AS items
