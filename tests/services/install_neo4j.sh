#!/bin/sh
# Install Neo4j's community edition, from Maven's jars, into .services/neo4j below the project root.
# Does nothing when it is there already.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
pom="$here/neo4j/pom.xml"
home="$here/../../.services/neo4j"

if cmp -s "$pom" "$home/installed.xml"; then
    exit 0
fi
for program in java mvn; do
    if ! command -v "$program" >/dev/null 2>&1; then
        echo "install_neo4j: $program is missing (Debian: apt-get install default-jdk-headless maven)" >&2
        exit 1
    fi
done
rm -rf "$home"
mkdir -p "$home"
mvn -q -B -f "$pom" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DoutputDirectory="$home/lib" -DincludeScope=runtime
cp "$pom" "$home/installed.xml"
