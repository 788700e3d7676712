"""Checks of students' answers, a file for each lesson.

A check takes the answer alone and brings its own data, so that it can be asked in a lesson, after
Run All, or by `ltcl grade` in another process. The text of a decorator is a hint; what follows it
are common mistakes, which the tests find.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "checking": ["check", "judge", "summary"],
        "lesson_00": ["check_updates", "check_neighbour_accuracy", "check_worst_confusion"],
        "lesson_01": ["check_class_sizes", "check_groups", "check_counts_of_a_list"],
        "lesson_02": ["check_nt_xent", "check_hardest_tenth", "check_lr_factor"],
        "lesson_03": ["check_magnitude_mask", "check_density", "check_thinned"],
        "lesson_04": ["check_momentum_loss", "check_memorization_score", "check_auroc"],
        "lesson_05": ["check_boost_strength", "check_posterize", "check_reversed_control"],
        "lesson_06": ["check_list_without_overlap", "check_balancedness", "check_seeds_needed"],
        "lesson_07": ["check_learnt_late", "check_hard_head", "check_changes"],
        "lesson_08": ["check_pair_means", "check_interval", "check_smallest_difference"],
        "lesson_09": ["check_info_nce", "check_ring"],
        "lesson_10": [
            "check_balanced_loss",
            "check_class_weight",
            "check_compensation",
            "check_simplex_cosine",
        ],
        "lesson_11": ["check_never_tested", "check_held_out", "check_decision"],
    },
)
