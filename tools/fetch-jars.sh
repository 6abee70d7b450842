#!/bin/sh
# fetch-jars.sh POM DIR: the jars of a Maven pom into DIR, whole or not at all.
set -eu
pom=$1 dir=$2 part=$2.part

fetch() {
    rm -rf "$part"
    mvn -q -B -Dstyle.color=never -f "$pom" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$(realpath -m "$part")"
}

# Maven keeps what it has got, so a second try goes on where the first stopped.
for pause_s in 5 20 0; do
    if fetch >&2; then
        rm -rf "$dir"
        mv "$part" "$dir"
        exit 0
    fi
    [ "$pause_s" = 0 ] || { echo "fetching jars failed; next try in $pause_s s" >&2; sleep "$pause_s"; }
done
echo "The jars of $pom could not be fetched. Is Maven's repository (or the mirror in ~/.m2/settings.xml) reachable?" >&2
exit 1
