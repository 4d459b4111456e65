"""Tables, transactions, statements and migrations. Imports nothing of app, tasks or sandbox."""

from models.database import ByKeys, Database, single
from models.statements import Row, buffer, prepared, read
from models.tables.declaration import METADATA, new_id
from models.trouble import Trouble, classify_sqlstate, find_trouble, read_sqlstate
