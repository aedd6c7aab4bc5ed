"""Which actions do something in which Atari game, so that nobody has to put a cartridge in to ask.

What ale-py 0.12 says of its cartridges. A cartridge that is not in here is asked.
"""

from __future__ import annotations

ACTIONS = (
    *("NOOP", "FIRE", "UP", "RIGHT", "LEFT", "DOWN"),
    *("UPRIGHT", "UPLEFT", "DOWNRIGHT", "DOWNLEFT", "UPFIRE", "RIGHTFIRE"),
    *("LEFTFIRE", "DOWNFIRE", "UPRIGHTFIRE", "UPLEFTFIRE", "DOWNRIGHTFIRE", "DOWNLEFTFIRE"),
)
ALL = 0b111111111111111111
SETS: dict[int, str] = {  # the bit of an action, from the right, is set where it does something
    0b000000000000011001: "skiing",
    0b000000000000011010: "backgammon",
    0b000000000000011011: "breakout kaboom",
    0b000000000000100101: "freeway",
    0b000000000000100111: "blackjack casino",
    0b000000000000111011: "tetris",
    0b000000000000111101: "frogger pacman surround",
    0b000000000000111111: "basic_math king_kong qbert",
    0b000000001111000010: "video_checkers",
    0b000000001111111101: "asterix crazy_climber koolaid lost_luggage ms_pacman",
    0b000000001111111111: "othello tic_tac_toe_3d video_chess",
    0b000001100000000011: "atlantis atlantis2",
    0b000001100000011011: "air_raid carnival demon_attack galaxian name_this_game pong sir_lancelot space_invaders",
    0b000001100000011111: "assault",
    0b000001100011011111: "beam_rider",
    0b000001101100111011: "enduro",
    0b000001101111111111: "turmoil",
    0b000001110000011111: "gopher",
    0b000001110000111101: "tutankham",
    0b000001110000111111: "video_pinball",
    0b000010010000100111: "bowling pooyan up_n_down",
    0b000011100000111011: "phoenix",
    0b000011110000111111: "amidar mr_do time_pilot wizard_of_wor",
    0b000011111111111111: "keystone_kapers",
    0b001111110011111111: "asteroids",
    0b111111101100111101: "kung_fu_master",
    0b111111101111111101: "journey_escape",
    ALL: (
        "adventure alien bank_heist battle_zone berzerk boxing centipede chopper_command crossbow darkchambers "
        "defender donkey_kong double_dunk earthworld elevator_action entombed et fishing_derby flag_capture "
        "frostbite gravitar hangman haunted_house hero human_cannonball ice_hockey jamesbond kangaroo klax krull "
        "laser_gates mario_bros miniature_golf montezuma_revenge pitfall pitfall2 private_eye riverraid "
        "road_runner robotank seaquest solaris space_war star_gunner superman tennis trondead venture video_cube "
        "word_zapper yars_revenge zaxxon"
    ),
}
MASKS = {rom: mask for mask, roms in SETS.items() for rom in roms.split()}


def action_names(rom: str) -> tuple[str, ...] | None:
    """The names of the actions that do something, in the order of their ids; None where it is not known."""
    mask = MASKS.get(rom)
    return None if mask is None else tuple(name for bit, name in enumerate(ACTIONS) if mask >> bit & 1)
