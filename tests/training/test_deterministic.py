"""What op determinism does not promise of itself: see `fire_tf.model.gradients`."""

from tiny_fire import awaken, pairs, tiny_model


def test_no_step_has_a_sum_whose_order_the_moment_decides() -> None:
    model = awaken(tiny_model(steps=1, shared=True))
    model.compile()
    for step in model._steps:
        graph = step.__wrapped__.get_concrete_function(pairs()).graph.as_graph_def()
        functions = [
            f for f in graph.library.function if not f.attr["_XlaMustCompile"].b
        ]  # XLA keeps the order
        nodes = [*graph.node, *(node for function in functions for node in function.node_def)]
        assert len(nodes) > 1000
        assert max(node.attr["N"].i for node in nodes if node.op == "AddN") == 2
