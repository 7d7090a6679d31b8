"""What a run gives to other tools, and what it takes from them: chat messages, data sets, students, the hub."""

from qrdistill.sharing.data_set import write_data_set
from qrdistill.sharing.hub import push_folder
from qrdistill.sharing.incoming import convert
from qrdistill.sharing.messages import message_rows, write_messages
from qrdistill.sharing.team import write_students

__all__ = ["convert", "message_rows", "push_folder", "write_data_set", "write_messages", "write_students"]
