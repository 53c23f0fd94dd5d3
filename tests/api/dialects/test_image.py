"""Images as clients send them: which are taken, and what is told of the others."""

import base64
from itertools import pairwise

import pytest

from app.api.dialects.image import MOST_IMAGE_BYTES, MOST_PIXELS, image_of, image_of_text
from app.errors import BadInput
from tests.pictures import base64_of, gif, jpeg, png, png_head, segment, url_of, webp

PLACE = "documents[2].content[1]"
# Every character of both alphabets, and an end that wants filling.
DATA = png(comment=bytes(range(1, 256)))


def refused(url: str) -> str:
    with pytest.raises(BadInput) as caught:
        image_of(url, PLACE)
    assert caught.value.param == PLACE
    assert caught.value.message.startswith(PLACE)
    assert len(caught.value.message) < 200
    return caught.value.message


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (png(30, 20), "png"),
        (gif(30, 20), "gif"),
        (jpeg(30, 20), "jpeg"),
        (webp(b"VP8X", 30, 20), "webp"),
        (webp(b"VP8L", 30, 20), "webp"),
        (webp(b"VP8 ", 30, 20), "webp"),
    ],
)
@pytest.mark.parametrize("said", ["image/png", "IMAGE/JPEG", "image/jpg;charset=x"])
def test_an_image_goes_on_as_what_it_is_whatever_its_sender_says(data: bytes, kind: str, said: str):
    image = image_of(url_of(data, said), PLACE)
    assert image.url == url_of(data, f"image/{kind}")
    assert not image.host


@pytest.mark.parametrize(
    ("width", "height", "tokens"), [(2, 2, 1), (224, 224, 65), (1000, 1000, 1276), (4000, 3000, 1280)]
)
@pytest.mark.parametrize(
    "kind", [png_head, gif, jpeg, lambda *size: webp(b"VP8X", *size), lambda *size: webp(b"VP8L", *size)]
)
def test_the_tokens_of_an_image_go_by_its_pixels(kind, width: int, height: int, tokens: int):
    assert image_of(url_of(kind(width, height)), PLACE).tokens == tokens


@pytest.mark.parametrize(
    "spelling",
    [
        base64_of(DATA).rstrip("="),
        base64.encodebytes(DATA).decode(),
        base64.urlsafe_b64encode(DATA).decode(),
        f" {base64_of(DATA)}\r\n",
        # Bits beyond the last byte.
        base64_of(DATA).removesuffix("g==") + "h==",
    ],
)
def test_one_image_in_two_spellings_is_one(spelling: str):
    assert "-" not in base64_of(DATA)
    image = image_of(f"data:image/png;base64,{spelling}", PLACE)
    assert image == image_of(url_of(DATA), PLACE) == image_of_text(spelling, PLACE)
    assert image.url == url_of(DATA)


def test_images_of_other_bytes_are_others_however_alike_they_look():
    images = [image_of(url_of(data), PLACE) for data in (png(), png(comment=b"a"), png(shade=1), gif(2, 2), jpeg(2, 2))]
    assert len(set(images)) == len(images)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (f"data:;base64,{base64_of(png())}", "type"),
        (f"data:base64,{base64_of(png())}", "type"),
        (f"data:text/html;base64,{base64_of(png())}", "none of PNG, JPEG, WebP or GIF"),
        ("data:image/svg+xml;base64,PHN2Zy8+", "none of PNG, JPEG, WebP or GIF"),
        ("data:image/png,abc", "without base64"),
        ("data:image/png;base64", "without base64"),
        ("data:", "without base64"),
        ("data:image/png;base64,", "no PNG, JPEG, WebP or GIF"),
        ("data:image/png;base64,a", "not base64"),
        ("data:image/png;base64,ab=cd", "not base64"),
        ("data:image/png;base64,äöüß", "not base64"),
        ("data:image/png;base64,%41%41", "not base64"),
        (url_of(b"<svg/>"), "no PNG, JPEG, WebP or GIF"),
        (url_of(b"\x89PNG\r\n\x1a\n"), "no PNG, JPEG, WebP or GIF"),
        (url_of(b"\x89PNG\r\n\x1a\n" + b"\0" * 50), "no PNG, JPEG, WebP or GIF"),
        (url_of(b"GIF89a"), "no PNG, JPEG, WebP or GIF"),
        (url_of(b"RIFF1234WEBPVP9 " + b"\0" * 30), "no PNG, JPEG, WebP or GIF"),
        (url_of(b"RIFF1234WAVEfmt "), "no PNG, JPEG, WebP or GIF"),
        (url_of(b"\xff\xd8\xff"), "no PNG, JPEG, WebP or GIF"),
        (url_of(b"\xff\xd8\xff\xe0"), "no PNG, JPEG, WebP or GIF"),
        (url_of(jpeg(2, 2).replace(b"\xff\xc0", b"\xff\xc4")), "no PNG, JPEG, WebP or GIF"),
        (url_of(png_head(0, 2)), "no PNG, JPEG, WebP or GIF"),
        ("file:///etc/passwd", "no image"),
        ("ftp://images.example/a.png", "no image"),
        ("", "no image"),
        ("https://", "no image"),
        ("https://user@images.example/a.png", "no image"),
        ("https://images.example:443@evil.example/", "no image"),
        ("https://images.example\\@evil.example/", "no image"),
        ("https://images.example/a\\b", "no image"),
        ("https://images.example?@evil.example", "no image"),
        ("https://images.example#@evil.example", "no image"),
        ("https://images.example /a.png", "no image"),
        ("https://images.exa\tmple/a.png", "no image"),
        ("https://images.example/a\n.png", "no image"),
        ("https://bücher.example/a.png", "no image"),
        ("https://images.example/ä.png", "no image"),
        ("https://[::1]/a.png", "no image"),
        ("https://[::ffff:10.0.0.1]/", "no image"),
        ("https://images%2eexample/", "no image"),
        ("https://images.example:port/", "no image"),
        (f"https://images.example/{'a' * 2000}", "no image"),
    ],
)
def test_what_is_no_image_is_refused_with_its_place(url: str, told: str):
    assert told in refused(url)


def test_an_image_that_is_too_large_is_refused_unread():
    most = png()[:33] + b"\0" * (MOST_IMAGE_BYTES - 33)
    assert image_of(url_of(most), PLACE).url == url_of(most)
    assert "more than 10485760 bytes" in refused(url_of(most + b"\0"))
    # It isn't even base64.
    assert "more than 10485760 bytes" in refused("data:image/png;base64," + "!" * 20_000_000)


@pytest.mark.parametrize(
    "bomb",
    [
        png_head(8193, 8192),
        png_head(2**31 - 1, 2**31 - 1),
        gif(65535, 65535),
        jpeg(65535, 65535),
        jpeg(2, 2, before=jpeg(65535, 65535)[11:30]),
        webp(b"VP8X", 2**24, 2**24),
        webp(b"VP8L", 2**14, 2**14),
        webp(b"VP8 ", 2**14 - 1, 2**14 - 1),
    ],
)
def test_an_image_of_more_pixels_than_a_worker_should_unpack_is_refused(bomb: bytes):
    assert f"pixels, more than {MOST_PIXELS}" in refused(url_of(bomb))


def test_an_image_of_as_many_pixels_as_are_taken_is_taken():
    assert image_of(url_of(png_head(8192, 8192)), PLACE).tokens == 1280


def test_a_jpeg_is_read_over_thumbnails_filling_and_markers_without_length():
    thumbnail = segment(0xE1, b"Exif\0\0" + jpeg(4000, 4000))
    filled = thumbnail + b"\xff" * 5000 + segment(0xE2, b"ICC") + b"\xff\x01" + b"\xff\xd0"
    assert image_of(url_of(jpeg(224, 224, before=filled)), PLACE).tokens == 65


def test_a_jpeg_of_endless_segments_is_given_up():
    assert "no PNG" in refused(url_of(jpeg(2, 2, before=segment(0xE0, b"") * 40)))
    assert image_of(url_of(jpeg(224, 224, before=segment(0xE2, b"\0" * 65533) * 100)), PLACE).tokens == 65


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Images.Example/a%20b.png?c=d&e=@#f", "images.example"),
        ("HTTPS://images.example", "images.example"),
        ("http://images.example:80/", "images.example"),
        ("https://images.example:0443/", "images.example"),
        ("https://images.example:8443/", "images.example:8443"),
        ("http://images.example:443/", "images.example:443"),
        ("http://images.example./", "images.example."),
        ("http://2130706433/", "2130706433"),
        ("http://0x7f.1/", "0x7f.1"),
    ],
)
def test_an_address_is_known_by_its_host_and_unusual_port(url: str, host: str):
    image = image_of(url, PLACE)
    assert (image.url, image.host, image.tokens) == (url, host, 1280)
    assert image == image_of_text(url, PLACE)


def test_other_addresses_are_other_images():
    urls = ["https://a.example/1", "https://a.example/2", "http://a.example/1", url_of(png())]
    assert all(one != other for one, other in pairwise(image_of(url, PLACE) for url in urls))


def test_no_image_shows_itself_in_a_log():
    assert "base64" not in repr(image_of(url_of(png()), PLACE))
