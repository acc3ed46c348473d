#!/bin/sh
# Install Neo4j's community edition, from Maven's jars, into .services/neo4j below the project root.
# Does nothing when it is there already.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
pom="$here/neo4j/pom.xml"
root=$(CDPATH='' cd -- "$here/../.." && pwd)
home="$root/.services/neo4j"

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

# Run it once, and keep the classes that it has loaded as they are in memory: a start takes 5 s of
# processor time with them in place of 11 s. It starts without them, too.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/conf"
: > "$scratch/output"
for name in bolt.listen_address=127.0.0.1:0 http.listen_address=127.0.0.1:0 https.enabled=false \
    memory.pagecache.size=64m; do
    echo "server.$name"
done > "$scratch/conf/neo4j.conf"
opened=''
for name in nio io lang lang.reflect util util.concurrent math net; do
    opened="$opened --add-opens=java.base/java.$name=ALL-UNNAMED"
done
# shellcheck disable=SC2086 # several options
java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "-XX:ArchiveClassesAtExit=$home/classes.jsa" \
    -cp "$home/lib/*" -Xmx512m $opened --add-opens=java.base/sun.nio.ch=ALL-UNNAMED \
    org.neo4j.server.CommunityEntryPoint "--home-dir=$scratch" "--config-dir=$scratch/conf" \
    --console-mode > "$scratch/output" 2>&1 &
server=$!
waited=0
until grep -q 'Started\.' "$scratch/output" || [ "$waited" -ge 120 ]; do
    kill -0 "$server" 2>/dev/null || break
    sleep 1
    waited=$((waited + 1))
done
kill "$server" 2>/dev/null || true
wait "$server" || true
[ -e "$home/classes.jsa" ] || echo "install_neo4j: no archive of classes; starts are slow" >&2
cp "$pom" "$home/installed.xml"
