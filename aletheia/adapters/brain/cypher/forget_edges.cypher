MATCH (:Item)-[edge:SIMILAR]->(:Item)
CALL (edge) {
  DELETE edge
} IN TRANSACTIONS OF 5000 ROWS
