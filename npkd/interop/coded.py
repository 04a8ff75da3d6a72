import zlib
from npkd.nn.model import content, save, load
MAGIC=b"NPKZ"
def coded_size(model): return len(zlib.compress(content(model),9))
def save_coded(path, model): save(path, model)
