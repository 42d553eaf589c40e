# A model for tests: says what is put into the file `say`, and ends with the code put into the file `die`.
cd "$1" || exit 9
[ -n "$STUBBORN" ] && trap '' TERM
echo ready "$MUSTER_TOKEN"
while :; do
    if [ -f say ]; then mv say said; cat said; fi
    if [ -f die ]; then read -r code < die; exit "$code"; fi
    if [ -f hog ]; then x=0123456789; while :; do x=$x$x; done; fi
    sleep 0.05
done
