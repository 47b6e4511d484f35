"""Objects of a Kubernetes API that hold anything, for tests that draw them."""

import re

from hypothesis import strategies as st

TEXT = st.text(st.characters(codec=None), max_size=20) | st.sampled_from(
    ["\0", "\ud800", "x" * 2**20, "1Gi", "web", "True"]
)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
KEYS = st.sampled_from(
    re.findall(
        r"\w+",
        """
        metadata spec status name namespace labels app uid ownerReferences kind controller creationTimestamp
        deletionTimestamp selector  clusterIP ports port protocol loadBalancer ingress ip template containers image
        replicas readyReplicas conditions type capacity cpu  memory addresses address nodeInfo osImage containerStatuses
        initContainerStatuses state waiting reason ready restartCount phase  nodeName active suspend jobTemplate
        schedule desiredNumberScheduled numberReady unschedulable
        """,
    )
)
ANYTHING = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | TEXT, inner, max_size=6), max_leaves=25
)
# Objects of the right shape with anything in it reach further than anything at all.
OBJECTS = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"name": TEXT, "namespace": TEXT},
            optional={"labels": ANYTHING, "ownerReferences": ANYTHING, "creationTimestamp": ANYTHING},
        ),
    },
    optional={"spec": ANYTHING, "status": ANYTHING},
)
