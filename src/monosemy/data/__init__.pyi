from .config import DataConfig as DataConfig
from .dataset import LabelledData as LabelledData
from .in_memory import from_arrays as from_arrays
from .streams import open_stream as open_stream, shuffled as shuffled
