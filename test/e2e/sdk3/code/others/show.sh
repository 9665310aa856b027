for word; do echo "word: $word"; done
echo "colour: $COLOUR"
echo "channel: $(ls "$SM_CHANNEL_ONE")"
pwd
