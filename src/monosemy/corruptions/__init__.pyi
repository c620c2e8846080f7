from .common import KINDS as KINDS, corrupt as corrupt
from .inputs import corrupt_images as corrupt_images, token_drops as token_drops, typos as typos
from .labels import few_labels as few_labels, matrix_noise as matrix_noise, pair_noise as pair_noise
