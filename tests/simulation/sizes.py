"""The sizes of all that a gateway keeps: none of them may grow with the requests that it has served."""

import gc
from collections import Counter

from tests.simulation.replica import Replica

# Objects of the event loop live as long as what waits for them: a timer, a future, a task.
_COUNTED = ("app.", "asyncio.", "_asyncio")


def sizes_of(replica: Replica) -> dict[str, int]:
    """How much of each a gateway keeps now."""
    engine = replica.engine
    gc.collect()
    modules = Counter(type(thing).__module__ for thing in gc.get_objects())
    return {
        "workers": len(engine.registry.workers),
        "pairs under way": engine.singleflight.pairs,
        "documents pending": engine.admission.pending_documents,
        "chunks waiting": engine.scheduler.waiting,
        "series of metrics": sum(not line.startswith(b"#") for line in engine.metrics.render_at_once().splitlines()),
        "objects": sum(count for module, count in modules.items() if f"{module}.".startswith(_COUNTED)),
    }
