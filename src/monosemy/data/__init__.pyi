from .dataset import DataConfig as DataConfig
from .dataset import LabelledData as LabelledData
from .load import from_arrays as from_arrays
from .load import load_unlabelled as load_unlabelled
from .open_stream import open_stream as open_stream
from .shuffle import shuffled as shuffled
