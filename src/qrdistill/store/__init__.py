"""The run folder: one ledger, a manifest, exports; the only room that knows file names."""

from qrdistill.store.adopt import adopt
from qrdistill.store.files import export_records, sha256, write_bytes, write_json, write_text
from qrdistill.store.ledger import Ledger
from qrdistill.store.run import STAGES, Run, Stage

__all__ = ["STAGES", "Ledger", "Run", "Stage", "adopt", "export_records", "sha256", "write_bytes", "write_json", "write_text"]
