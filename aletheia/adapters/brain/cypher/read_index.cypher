SHOW VECTOR INDEXES YIELD name, state, options
WHERE name = 'aletheia_item_vector'
RETURN state, options.indexConfig['vector.dimensions'] AS dimensions
