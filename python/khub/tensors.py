"""A model's tensors as the one flat vector of f32 on which the sites agree.

Rank 0 has the vector; a tensor at a time travels between it and the ranks' shards, so that no accelerator
ever holds the whole model.
"""

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from khub._khub import Error

# What wrappers put into names.
WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.")


@dataclass(frozen=True)
class Place:
    """Where a tensor lies in the vector."""

    name: str  # in the layout
    key: str  # in the model
    shape: tuple
    transposed: bool  # rows are columns in the vector
    offset: int
    count: int


class Tensors:
    def __init__(self, model, layout, ranks, split=None):
        self.model = model
        self.ranks = ranks
        self.split = split
        shapes = {name: self.shape(name, tensor) for name, tensor in self.named().items()}
        if layout is None:
            layout = [(name, shape, False) for name, shape in shapes.items()]
        self.places = placed(layout, shapes)
        self.size = sum(place.count for place in self.places)

    def named(self):
        """The tensors by name, each once."""
        if isinstance(self.model, nn.Module):
            for module in self.model.modules():
                # After a forward pass alone, FSDP2 may still hold whole tensors.
                if hasattr(module, "reshard"):
                    module.reshard()
            found = {plain(name): tensor for name, tensor in self.model.named_parameters()}
            trained = {name: tensor for name, tensor in found.items() if tensor.requires_grad}
            return trained or found
        found, seen = {}, set()
        for name, tensor in self.model.items():
            storage = (tensor.data_ptr(), tuple(tensor.shape))
            if tensor.is_floating_point() and storage not in seen:
                seen.add(storage)
                found[plain(name)] = tensor
        return found

    def shape(self, name, tensor):
        """Of the whole tensor."""
        shape, parts = list(tensor.shape), self.split and self.split(name, tensor)
        if parts:
            group, dim = parts
            shape[dim] *= dist.get_world_size(group)
        return tuple(shape)

    def whole(self, name, tensor):
        """All of a tensor; every rank has to ask."""
        parts = self.split and self.split(name, tensor)
        if not parts:
            return tensor.full_tensor() if is_sharded(tensor) else tensor.detach()
        group, dim = parts
        every = [torch.empty_like(tensor) for _ in range(dist.get_world_size(group))]
        dist.all_gather(every, tensor.detach().contiguous(), group=group)
        return torch.cat(every, dim)

    def put(self, name, tensor, values):
        """Rank 0's values into a tensor, or everyone's share of them into everyone's."""
        values = values.to(device=tensor.device, dtype=tensor.dtype)
        if is_sharded(tensor):
            from torch.distributed.tensor import distribute_tensor

            tensor.copy_(distribute_tensor(values, tensor.device_mesh, tensor.placements))
            return
        if self.ranks.several:
            dist.broadcast(values, src=0)
        parts = self.split and self.split(name, tensor)
        if parts:
            group, dim = parts
            values = values.chunk(dist.get_world_size(group), dim)[dist.get_rank(group)]
        tensor.copy_(values)

    def sizes(self):
        return [place.count for place in self.places]

    def layout(self):
        """Every name and shape, in the order of the vector."""
        return "\n".join(f"{place.name} {'x'.join(map(str, place.shape))}" for place in self.places)

    @torch.no_grad()
    def first(self, seat):
        """The model's own weights become the first."""
        named = self.named()
        for place in self.places:
            values = self.whole(place.key, named[place.key])
            if self.ranks.talks:
                seat.set(place.offset, flat(values.float().cpu(), place))

    @torch.no_grad()
    def write(self, seat):
        """The site's weights into the model."""
        named = self.named()
        for place in self.places:
            self.put(place.key, named[place.key], self.own(seat, place))

    @torch.no_grad()
    def trained(self, seat):
        """What the training has come to, to the seat."""
        named = self.named()
        for place in self.places:
            tensor = named[place.key]
            now = self.whole(place.key, tensor)
            if self.ranks.talks:
                now = now.cpu()
                if now.dtype != torch.float32:
                    # A model of 16 bits began at rounded weights: how far it came from those is what it learned.
                    start = self.own(seat, place)
                    now = start + (now.float() - start.to(now.dtype).float())
                seat.set(place.offset, flat(now, place))

    def own(self, seat, place):
        """A tensor of the site's weights, at rank 0; the others get one of its shape."""
        values = torch.empty(place.count)
        if self.ranks.talks:
            seat.read(place.offset, values.numpy())
        if place.transposed:
            return values.view(place.shape[::-1]).t().contiguous()
        return values.view(place.shape)


def placed(layout, shapes):
    """Which of the model's tensors lies where."""
    places, missing, offset = [], [], 0
    for name, shape, transposed in layout:
        key = next((key for key in (name, base_name(name)) if key in shapes), None)
        if key is None:
            missing.append(name)
            continue
        if shapes[key] != tuple(shape):
            raise Error(f"{key} is {shapes[key]} here, and {tuple(shape)} in the job's model")
        count = math.prod(shape)
        places.append(Place(name, key, tuple(shape), transposed, offset, count))
        offset += count
    unknown = sorted(set(shapes) - {place.key for place in places})
    if missing or unknown:
        raise Error(
            f"the model's tensors are not those of the job: {some(missing)} missing here, {some(unknown)} not in the "
            "job. Is it of the family and shape that the job's settings tell (Job.config)?"
        )
    return places


def some(names):
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"


def plain(name):
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name.removeprefix("module.")


def base_name(name):
    """The name in a model without its head."""
    prefix, _, rest = name.partition(".")
    return rest if prefix in ("transformer", "model") else name


def is_sharded(tensor):
    return hasattr(tensor, "full_tensor")


def flat(values, place):
    return (values.t() if place.transposed else values).contiguous().view(-1).numpy()
