import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as tv

from ltcl_helpers.views.simclr import (
    ATTEMPTS,
    HUE,
    ViewParameters,
    _choose_boxes,
    apply_view,
    draw_view_parameters,
    simclr_view,
)

COUNT = 48


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    """uint8 [48, 3, 32, 32]: noise at three scales, plus saturated blobs, gray and black."""
    layers = [torch.rand(COUNT, 3, size, size, generator=generator(size)) for size in (3, 8, 32)]
    layers = [torch.nn.functional.interpolate(x, size=(32, 32), mode="bilinear") for x in layers]
    mixed = 0.55 * layers[0] + 0.35 * layers[1] + 0.1 * layers[2]
    mixed = ((mixed - 0.5) * torch.linspace(1, 4, COUNT)[:, None, None, None] + 0.5).clamp(0, 1)
    mixed[0] = mixed[0].mean(dim=0, keepdim=True)
    mixed[1] = 0
    return (255 * mixed).round().to(torch.uint8)


def kolmogorov_smirnov(first, second):
    """Largest distance of two empirical distributions."""
    points = np.concatenate([first, second])
    shares = [np.searchsorted(np.sort(x), points, side="right") / len(x) for x in (first, second)]
    return np.abs(shares[0] - shares[1]).max()


def identity(count=COUNT, size=32, **changes):
    nothing = ViewParameters(
        box=torch.tensor([0, 0, size, size]).repeat(count, 1),
        flip=torch.zeros(count, dtype=torch.bool),
        factors=torch.ones(count, 3),
        hue=torch.zeros(count),
        order=torch.arange(4).repeat(count, 1),
        gray=torch.zeros(count, dtype=torch.bool),
    )
    return nothing._replace(**changes)


def take(parameters, index):
    return ViewParameters(*(field[index] for field in parameters))


def pil_crop(image, box, flip):
    top, left, height, width = box.tolist()
    size = image.size
    image = image.crop((left, top, left + width, top + height)).resize(size, Image.BICUBIC)
    return tv.hflip(image) if flip else image


def adjust(image, operation, parameters, i):
    """One colour operation of image i by torchvision, on a PIL image or a float tensor."""
    if operation == HUE:
        return tv.adjust_hue(image, parameters.hue[i].item())
    function = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation)[operation]
    return function(image, parameters.factors[i, operation].item())


def pil_views(images, parameters, crop=True, jitter=True, gray=True):
    """By PIL alone. `jitter` may name the one operation: even hue 0 rounds PIL images to HSV."""
    views = []
    for i, pixels in enumerate(images):
        image = tv.to_pil_image(pixels)
        if crop:
            image = pil_crop(image, parameters.box[i], parameters.flip[i])
        for operation in parameters.order[i].tolist():
            if jitter is True or jitter == (operation,):
                image = adjust(image, operation, parameters, i)
        if gray and parameters.gray[i]:
            image = tv.rgb_to_grayscale(image, 3)
        views.append(tv.pil_to_tensor(image))
    return torch.stack(views)


def gray_levels(view, expected):
    """Maximum and mean difference in units of 1/255."""
    difference = (255 * view - expected.float()).abs()
    return difference.max().item(), difference.mean().item()


def test_crop_and_flip_agree_with_pil(images):
    parameters = draw_view_parameters(COUNT, 32, 32, generator(1))
    expected = pil_views(images, parameters, jitter=(), gray=False)
    largest, mean = gray_levels(apply_view(images, parameters, colour=False), expected)
    assert largest < 2
    assert mean < 0.6


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 48)])
def test_crop_agrees_with_torchvision_in_float(height, width):
    # Mid-tones: where bicubic overshoots, torchvision clips nothing, PIL and ours after each pass.
    images = 0.25 + 0.5 * torch.rand(COUNT, 3, height, width, generator=generator(2))
    parameters = draw_view_parameters(COUNT, height, width, generator(3))
    view = apply_view(images, parameters, colour=False)
    for i, image in enumerate(images):
        box = parameters.box[i].tolist()
        bicubic = tv.InterpolationMode.BICUBIC
        expected = tv.resized_crop(image, *box, [height, width], bicubic, antialias=True)
        expected = expected.flip(-1) if parameters.flip[i] else expected
        torch.testing.assert_close(view[i], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("operation", range(4))
def test_each_colour_operation_agrees_with_torchvision(images, operation):
    """Tightly with its float arithmetic, loosely with PIL, which rounds (hue to 1/255 turn)."""
    drawn = draw_view_parameters(COUNT, 32, 32, generator(4))
    factors = torch.linspace(0.6, 1.4, COUNT)[:, None]
    factors = torch.where(torch.arange(3) == operation, factors, 1.0)
    hue = torch.linspace(-1 / 6, 1 / 6, COUNT) * (operation == HUE)
    parameters = identity(factors=factors, hue=hue, order=drawn.order)
    view = apply_view(images, parameters)
    floats = images / 255
    expected = torch.stack([adjust(x, operation, parameters, i) for i, x in enumerate(floats)])
    # torchvision's luminance weighs red with 0.2989, PIL's and ours with 0.299.
    torch.testing.assert_close(view, expected, rtol=0, atol=1e-4)
    largest, mean = gray_levels(view, pil_views(images, parameters, jitter=(operation,)))
    assert largest < (18 if operation == HUE else 1.5)
    assert mean < 1.2


def test_grayscale_agrees_with_pil(images):
    parameters = identity(gray=torch.arange(COUNT) % 2 == 0)
    view = apply_view(images, parameters)
    assert gray_levels(view, pil_views(images, parameters, jitter=()))[0] < 0.51
    assert (view[::2] == view[::2, :1]).all()
    assert torch.equal(view[1::2], images[1::2] * (1 / 255))


def test_whole_view_agrees_with_pil(images):
    for seed in range(4):
        parameters = draw_view_parameters(COUNT, 32, 32, generator(seed))
        view = apply_view(images, parameters)
        expected = pil_views(images, parameters)
        largest, mean = gray_levels(view, expected)
        assert mean < 1.6  # PIL truncates in each blend (0.5 too dark) and has 8 bits for the hue
        assert largest < 30
        worst_image = (255 * view - expected.float()).abs().mean(dim=(1, 2, 3)).max()
        assert worst_image < 4


def test_every_order_agrees_with_torchvision_in_float():
    orders = torch.cartesian_prod(*[torch.arange(4)] * 4)
    orders = orders[(orders.sort(dim=1).values == torch.arange(4)).all(dim=1)]  # [24, 4]
    strong = torch.tensor([1.4, 0.6, 1.4]).repeat(24, 1)
    parameters = identity(24, factors=strong, hue=torch.full((24,), 0.1), order=orders)
    image = torch.rand(3, 32, 32, generator=generator(5))
    views = apply_view(image.repeat(24, 1, 1, 1), parameters)
    for i, view in enumerate(views):
        expected = image
        for operation in orders[i].tolist():
            expected = adjust(expected, operation, parameters, i)
        torch.testing.assert_close(view, expected, rtol=0, atol=5e-4)
    assert torch.pdist(views.flatten(1)).min() > 0.01  # orders matter


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40), (8, 64)])
def test_boxes_follow_torchvisions_law(height, width):
    """Kolmogorov-Smirnov with 4000 draws each; 0.0436 is the 0.1 % level. 8x64 often falls back."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blank = torch.empty(3, height, width)
        theirs = [
            RandomResizedCrop.get_params(blank, [0.1, 1], [3 / 4, 4 / 3]) for _ in range(4000)
        ]
    ours = draw_view_parameters(4000, height, width, generator(6)).box.numpy()
    theirs = np.array(theirs)
    fallbacks = [(x[:, 2:] == [height, round(height * 4 / 3)]).all(axis=1) for x in (ours, theirs)]
    for boxes in (ours, theirs):
        assert (boxes >= 0).all()
        assert (boxes[:, 2:] > 0).all()
        assert (boxes[:, :2] + boxes[:, 2:] <= [height, width]).all()

    def statistics(boxes):
        top, left, rows, columns = boxes.T
        centred = left + columns / 2 == width / 2
        return [top, left, rows, columns, rows * columns, columns / rows, centred, top + left]

    for our, their in zip(statistics(ours), statistics(theirs), strict=True):
        assert kolmogorov_smirnov(our, their) < 0.0436
    assert abs(fallbacks[0].mean() - fallbacks[1].mean()) < 0.03


def test_fallback_is_torchvisions_central_crop():
    huge = torch.ones(4, ATTEMPTS)  # area 1 and ratio 4/3 fit into none of these images
    for height, width in [(32, 32), (60, 21), (21, 60), (64, 63)]:
        box = _choose_boxes(huge, huge, torch.rand(4, 2), height, width)
        rows, columns = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
        expected = [(height - rows) // 2, (width - columns) // 2, rows, columns]
        assert box.tolist() == [expected] * 4


@pytest.mark.parametrize(("height", "width", "ratio"), [(2, 1, 0.0), (1, 2, 1.0)])
def test_a_box_has_a_pixel_at_least(height, width, ratio):
    """A tenth of two pixels is less than half a pixel wide, or high."""
    smallest = torch.zeros(3, ATTEMPTS)
    box = _choose_boxes(smallest, smallest + ratio, torch.zeros(3, 2), height, width)
    assert box.tolist() == [[0, 0, 1, 1]] * 3


def test_first_box_that_fits_is_taken():
    area = torch.ones(1, ATTEMPTS)
    area[0, 3], area[0, 5] = 0.25, 0.5
    ratio = torch.ones(1, ATTEMPTS)  # 4/3
    side = 32 * (0.1 + 0.9 * 0.25) ** 0.5
    box = _choose_boxes(area, ratio, torch.tensor([[0.0, 1 - 2**-24]]), 32, 32)[0].tolist()
    rows, columns = round(side * 0.75**0.5), round(side / 0.75**0.5)
    assert box == [0, 32 - columns, rows, columns]


def test_chances_ranges_and_orders():
    count = 24_000
    parameters = draw_view_parameters(count, 32, 32, generator(7))
    jittered = parameters.hue != 0

    def is_near(share, chance):
        return (
            abs(share.float().mean().item() - chance) < 4 * (chance * (1 - chance) / count) ** 0.5
        )

    assert is_near(parameters.flip, 0.5)
    assert is_near(jittered, 0.8)
    assert is_near(parameters.gray, 0.2)
    assert is_near(parameters.flip & parameters.gray & jittered, 0.08)
    assert (parameters.factors[~jittered] == 1).all()
    uniform = [
        *((parameters.factors[jittered] - 0.6) / 0.8).T,
        (parameters.hue[jittered] + 0.1) / 0.2,
    ]
    for values in uniform:
        assert -1e-6 <= values.min() < 1e-3
        assert 1 - 1e-3 < values.max() <= 1 + 1e-6
        empirical = torch.linspace(0, 1, len(values))
        assert (values.sort().values - empirical).abs().max() < 1.95 / len(values) ** 0.5
    correlation = torch.corrcoef(torch.stack(uniform)) - torch.eye(4)
    assert correlation.abs().max() < 0.03
    codes = (parameters.order * torch.tensor([64, 16, 4, 1])).sum(dim=1)
    assert (parameters.order.sort(dim=1).values == torch.arange(4)).all()
    _, counts = codes.unique(return_counts=True)
    assert len(counts) == 24
    assert ((counts - 1000) ** 2 / 1000).sum() < 49.7  # chi-square, 23 degrees, 0.1 %


def test_seed_decides_the_view(images):
    first = simclr_view(images, generator(8))
    assert torch.equal(first, simclr_view(images, generator(8)))
    other = simclr_view(images, generator(9))
    changed = (first != other).flatten(1).any(dim=1)
    assert changed[2:].all()  # image 1 is black
    source = generator(8)
    assert torch.equal(first, simclr_view(images, source))
    assert not torch.equal(first, simclr_view(images, source))


def test_options_leave_parts_out(images):
    parameters = draw_view_parameters(COUNT, 32, 32, generator(10))
    plain = identity()
    cropped = apply_view(images, plain._replace(box=parameters.box, flip=parameters.flip))
    coloured = apply_view(images, parameters._replace(box=plain.box, flip=plain.flip))
    torch.testing.assert_close(simclr_view(images, generator(10), colour=False), cropped)
    torch.testing.assert_close(simclr_view(images, generator(10), crop=False), coloured)
    neither = simclr_view(images, generator(10), crop=False, colour=False)
    torch.testing.assert_close(neither, images / 255)


def test_each_image_is_treated_as_if_alone(images):
    parameters = draw_view_parameters(COUNT, 32, 32, generator(11))
    view = apply_view(images, parameters)
    shuffle = torch.randperm(COUNT, generator=generator(12))
    shuffled = apply_view(images[shuffle], take(parameters, shuffle))
    torch.testing.assert_close(shuffled, view[shuffle], rtol=0, atol=2e-6)
    for i in range(0, COUNT, 7):
        alone = apply_view(images[i : i + 1], take(parameters, slice(i, i + 1)))
        torch.testing.assert_close(alone, view[i : i + 1], rtol=0, atol=2e-6)


def test_uint8_and_float_agree_and_inputs_are_left_alone(images):
    floats = images / 255
    before = images.clone(), floats.clone()
    for options in ({}, {"crop": False}, {"colour": False}, {"crop": False, "colour": False}):
        from_bytes = simclr_view(images, generator(13), **options)
        from_floats = simclr_view(floats, generator(13), **options)
        torch.testing.assert_close(from_bytes, from_floats, rtol=0, atol=2e-6)
        assert torch.equal(images, before[0])
        assert torch.equal(floats, before[1])


def test_identity_parameters_change_nothing(images):
    floats = images / 255
    orders = draw_view_parameters(COUNT, 32, 32, generator(14)).order
    assert torch.equal(apply_view(floats, identity(order=orders)), floats)


def test_constant_image_stays_constant_under_crop():
    colours = torch.rand(COUNT, 3, 1, 1, generator=generator(15)).expand(-1, -1, 32, 32)
    view = simclr_view(colours, generator(16), colour=False)
    torch.testing.assert_close(view, colours.contiguous(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (5, 3, 32, 32), (3, 3, 17, 40), (2, 3, 1, 1)])
def test_shape_dtype_and_range(shape):
    for images in (
        torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(17)),
        torch.rand(shape, generator=generator(17)).round(),
        torch.rand(shape, generator=generator(17)).transpose(2, 3).contiguous().transpose(2, 3),
    ):
        for crop in (True, False):
            view = simclr_view(images, generator(18), crop=crop)
            assert view.shape == images.shape
            assert view.dtype == torch.float32
            assert 0 <= view.min() <= view.max() <= 1
            same = simclr_view(images.contiguous(), generator(18), crop=crop)
            torch.testing.assert_close(view, same, rtol=0, atol=2e-6)


def test_arithmetic_never_waits_for_a_value(images):
    """Nothing that a CUDA graph could not capture: no value to Python, no shape from data."""

    class Record(TorchDispatchMode):
        names = set()

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.names.add(function._overloadpacket.__name__)
            return function(*args, **(kwargs or {}))

    parameters = draw_view_parameters(COUNT, 32, 32, generator(19))
    with Record() as record:
        apply_view(images, parameters)
    forbidden = {"_local_scalar_dense", "item", "nonzero", "index", "masked_select", "lift_fresh"}
    assert "bmm" in record.names
    assert not record.names & forbidden
    nowhere = ViewParameters(*(field.to("meta") for field in parameters))
    assert apply_view(images.to("meta"), nowhere).shape == images.shape


def test_bad_input_is_refused(images):
    with pytest.raises(ValueError, match=r"uint8 \[48, 32, 32\]: .* \[B, 3, H, W\]"):
        simclr_view(images[:, 0], generator())
    with pytest.raises(ValueError, match=r"\[48, 32, 32, 3\]"):
        simclr_view(images.permute(0, 2, 3, 1), generator())
    with pytest.raises(ValueError, match=r"torch.float64 .*: uint8 or float32"):
        simclr_view(images.double(), generator())
    with pytest.raises(ValueError, match="generator is on cpu, .*meta"):
        simclr_view(images.to("meta"), generator())
    with pytest.raises(ValueError, match="images are torch.uint8"):
        apply_view(images[:, :2], identity())
    for sizes in ((1, 0, 32), (1, 32, 0)):
        with pytest.raises(ValueError, match="each must be >= 1"):
            draw_view_parameters(*sizes, generator())
    with pytest.raises(ValueError, match="parameters are for 3 images, there are 48"):
        apply_view(images, identity(3))
    with pytest.raises(ValueError, match="0, 32, 32: each must be >= 1"):
        draw_view_parameters(0, 32, 32, generator())
