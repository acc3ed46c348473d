DROP INDEX aletheia_item_vector IF EXISTS
