"""Who gets which image, and for how long."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from lib.campaign import Campaign, CampaignError, LeaseLostError, NotAllowedError, PoolImage, Settings, UnknownError

from llnm.errors import InputError


def image_for(campaign, annotator):
    (lease,) = campaign.next_images(annotator, "random")
    return lease.image


def test_annotators_at_the_same_time_never_get_the_same_image(campaign, study):
    with ThreadPoolExecutor(12) as threads:
        given = list(threads.map(lambda n: image_for(campaign, f"a{n}"), range(len(study.names))))
    assert sorted(given) == study.names
    assert campaign.next_images("late", "random") == []


def test_two_processes_on_one_folder_never_give_the_same_image(campaign, study, clock):
    other = Campaign(campaign.folder, clock=clock)
    given = [image_for((campaign, other)[n % 2], f"a{n}") for n in range(len(study.names))]
    assert sorted(given) == study.names


def test_asking_again_gives_the_same_image_and_takes_no_second_one(campaign, clock):
    first = campaign.next_images("ann", "random")[0]
    clock.pass_minutes(10)
    again = campaign.next_images("ann", "random")[0]
    assert (again.id, again.image) == (first.id, first.image)
    assert again.expires == first.expires + 600


def test_a_lease_that_ran_out_goes_to_the_next_one_who_asks(campaign, study, clock):
    for n in range(len(study.names)):
        campaign.next_images(f"a{n}", "random")
    clock.pass_minutes(31)
    assert len(campaign.next_images("late", "random")) == 1


def test_whoever_comes_back_late_keeps_an_image_that_nobody_took(campaign, clock):
    lease = campaign.next_images("ann", "random")[0]
    clock.pass_minutes(300)
    assert campaign.renew(lease.id, "ann").expires == clock() + 1800


def test_a_lost_lease_says_who_has_the_image_and_what_to_do(campaign, study, clock):
    lease = campaign.next_images("ann", "random")[0]
    clock.pass_minutes(31)
    others = [campaign.next_images(f"b{n}", "random")[0] for n in range(len(study.names))]
    taker = next(other for other in others if other.image == lease.image)
    with pytest.raises(LeaseLostError, match="ask for the next image"):
        campaign.renew(lease.id, "ann")
    with pytest.raises(LeaseLostError, match=f"with {taker.annotator} now.*keep your label.*one more reader"):
        campaign.submitted(lease.image, "ann", study.mask(lease.image))
    assert campaign.status()["labels"] == 0


def test_leases_outlive_the_process(campaign, study, clock):
    lease = campaign.next_images("ann", "random")[0]
    campaign.close()
    again = Campaign(campaign.folder, clock=clock)
    assert again.next_images("ann", "random")[0].id == lease.id
    given = [image_for(again, f"b{n}") for n in range(len(study.names) - 1)]
    assert lease.image not in given
    again.close()


def test_a_skipped_image_comes_back_to_others_alone(campaign, study):
    lease = campaign.next_images("ann", "random")[0]
    campaign.release(lease.id, "ann", skip=True)
    mine = campaign.next_images("ann", "random", 10)
    assert lease.image not in [other.image for other in mine]
    assert lease.image in [image_for(campaign, f"b{n}") for n in range(len(study.names) - len(mine))]


def test_nobody_gives_back_or_keeps_the_image_of_another(campaign):
    lease = campaign.next_images("ann", "random")[0]
    with pytest.raises(NotAllowedError, match="another annotator"):
        campaign.release(lease.id, "bob")
    with pytest.raises(NotAllowedError, match="another annotator"):
        campaign.renew(lease.id, "bob")


def test_one_annotator_cannot_hoard_images(campaign):
    with pytest.raises(CampaignError, match="ask for 1 to 10"):
        campaign.next_images("ann", "random", 11)
    campaign.next_images("ann", "random", 10)
    assert len({lease.image for lease in campaign.next_images("ann", "random", 10)}) == 10


def test_validation_patients_come_first_and_are_the_same_for_every_order_of_the_images(study, tmp_path):
    sides = []
    for number, order in enumerate((1, -1)):
        campaign = Campaign(tmp_path / str(number), settings=Settings(validation_share=0.3, seed=4))
        campaign.add_images(study.pool()[::order])
        count = campaign.status()["validation_images"]
        first = [image_for(campaign, f"a{n}") for n in range(count)]
        rest = [image_for(campaign, f"b{n}") for n in range(len(study.names) - count)]
        patients = [{name.split("-")[0] for name in names} for names in (first, rest)]
        assert 0 < count < len(study.names)
        assert not patients[0] & patients[1]
        sides.append(sorted(first))
        campaign.close()
    assert sides[0] == sides[1]


def test_the_strategy_is_asked_with_what_is_free_and_what_is_covered(study, tmp_path):
    asked = []

    def last_first(candidates, covered, count):
        asked.append((sorted(candidates), list(covered), count))
        return sorted(candidates)[::-1][:count]

    campaign = Campaign(tmp_path / "c", settings=Settings(validation_share=0), strategies={"last": last_first})
    campaign.add_images(study.pool())
    assert [lease.image for lease in campaign.next_images("ann", "last", 2)] == study.names[:-3:-1]
    assert [lease.image for lease in campaign.next_images("bob", "last", 1)] == [study.names[-3]]
    assert asked[1] == (study.names[:-2], study.names[-2:], 1)
    campaign.close()


def test_a_strategy_that_is_not_known_is_named_with_those_that_are(campaign):
    with pytest.raises(UnknownError, match="'best' is not known; choose one of random"):
        campaign.next_images("ann", "best")


@pytest.mark.parametrize("name", ["", " ann", "a\nb", "x" * 201, "consensus", "campaign"])
def test_a_name_that_is_none_is_refused(campaign, name):
    with pytest.raises(CampaignError, match="annotator"):
        campaign.next_images(name, "random")


def test_what_a_campaign_is_about_cannot_change_but_its_lease_time_can(campaign, clock):
    campaign.close()
    with pytest.raises(InputError, match="structure is nodule in this campaign"):
        Campaign(campaign.folder, settings=Settings(structure="gland", validation_share=0))
    changed = Campaign(campaign.folder, settings=Settings(validation_share=0, lease_minutes=5), clock=clock)
    assert changed.next_images("ann", "random")[0].expires == clock() + 300
    changed.close()


def test_images_that_come_later_join_the_pool(campaign, study):
    extra = PoolImage("extra", study.image(study.names[0]), "p99")
    assert campaign.add_images([*study.pool(), extra]) == 1
    assert "extra" in [image_for(campaign, f"a{n}") for n in range(len(study.names) + 1)]
