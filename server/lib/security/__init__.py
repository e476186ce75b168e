"""Who may do what: users and roles, tokens or OpenID Connect, and the gate every request passes.

Comes in: HTTP requests. Goes out: the same with a `User`, or 401, 403, 413, 421.
"""

from lib.security.gate import Gate, current_user
from lib.security.users import ROLES, TokenUsers, User

__all__ = ["ROLES", "Gate", "TokenUsers", "User", "current_user"]
