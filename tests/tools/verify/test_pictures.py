from app.api.dialects.image import image_of
from app.tools.verify.pictures import pictures
from app.types import Content


def test_the_pictures_are_images_always_the_same_and_each_its_own():
    sample = pictures()
    assert [len(pairs) for pairs in sample] == [64, 64]
    documents = [document for pairs in sample for document in pairs.documents if isinstance(document, Content)]
    images = [image for document in documents for image in document.images]
    assert len(set(images)) == len(images) == 128
    assert all(image_of(image.url, "") == image for image in images)
    assert max(len(image.url) for image in images) < 2000
    assert pictures() == sample
