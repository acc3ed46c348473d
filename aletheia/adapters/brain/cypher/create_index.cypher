CREATE VECTOR INDEX aletheia_item_vector IF NOT EXISTS
FOR (item:Item) ON item.vector
OPTIONS $options
