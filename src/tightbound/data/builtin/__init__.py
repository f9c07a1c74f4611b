"""Names of the built-in data sets, for the command line. Free of torch."""

GRIDS = {  # rendered from known factors
    "scenes": "tightbound.data.builtin.scenes:Scenes",
    "sprites": "tightbound.data.builtin.sprites:Sprites",
}
BUILTINS: dict[str, str] = {
    "digits": "handwritten digits of scikit-learn, 8x8, 17 gray levels: 1,500 train, 297 test",
    "fashion-mnist": "images of clothes, 28x28, 256 gray levels: 60,000 train, 10,000 test",
    "frey-faces": "one face on video, 28x20, 256 gray levels: 1,765 train, 200 test",
    "mnist": "handwritten digits, 28x28, 256 gray levels: 60,000 train, 10,000 test",
    "scenes": "a solid in a room, six known factors, 64x64, color, 256 levels: 470,000 train, 10,000 test",
    "sprites": "squares, ellipses and hearts, five known factors, 64x64, binary: 727,280 train, 10,000 test",
}
