"""The number of an epoch where one callback sees several fits."""

from seewhy.integrations.counting import Count


def numbers(count, begin, epochs):
    count.begin(begin)
    return [count.step(begin + each) for each in range(1, epochs + 1)]


def test_a_fit_that_begins_anew_goes_on_counting():
    count = Count()
    assert numbers(count, 0, 3) == [1, 2, 3]
    assert numbers(count, 0, 2) == [4, 5]


def test_a_fit_that_resumes_has_its_own_numbers():
    assert numbers(Count(), 3, 2) == [4, 5]
    count = Count()
    numbers(count, 0, 3)
    assert numbers(count, 2, 2) == [3, 4]  # back to a checkpoint


def test_a_fit_that_resumes_where_the_last_one_ended_goes_on_counting():
    count = Count()
    numbers(count, 0, 3)
    numbers(count, 0, 2)
    assert numbers(count, 2, 2) == [6, 7]  # by the second fit's numbers
    assert numbers(count, 7, 1) == [8]  # by those of all
