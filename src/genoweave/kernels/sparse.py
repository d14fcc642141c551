"""Rows of packed genotypes that are nearly all one code: only the others are listed.

A list is a string of numbers in LEB128, 7 bits a byte: each says how many codes lie between this one and the
one before, and in its low 2 bits which code it is. A variant with 1 % of heterozygotes takes 0.07 of its
packed bytes. zstd takes 0.1 of the bytes and several times as long.

All numbers are unsigned: signed indices, which numba lets count from the end, took 2.5 times as long.
"""

from __future__ import annotations

import numpy as np

from genoweave.kernels._bits import popcount
from genoweave.kernels._compile import kernel, part

_LOW = np.uint64(0x5555555555555555)
_ONE, _TWO, _THREE, _SEVEN = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(7)
_DIGIT, _MORE = np.uint64(0x7F), np.uint64(0x80)
_NONE = np.uint64(0)
_LAST_DIGIT = np.uint64(35)  # a number has five at most


@kernel
def list_rows(codes, rows, kinds, limit, out, sizes):
    """Write the lists of rows one behind the other; return the bytes written.

    Parameters
    ----------
    codes, rows
        uint8 (variants, bytes), and int64 (n,): those to list.
    kinds
        uint8 (n,): the code that a row is mostly.
    limit
        The most bytes that a list may have.
    out
        uint8, at least n x limit + 168 bytes: a word's numbers are written before they are counted.
    sizes
        int64 (n,): takes the bytes of each list, -1 for a row whose list is too long and is not written.
    """
    at = _NONE
    n_words = (codes.shape[1] + 7) >> 3
    words = np.empty(n_words, np.uint64)
    odd = np.empty(n_words, np.uint64)
    most = np.uint64(limit)
    for n in range(rows.shape[0]):
        kind = _LOW * np.uint64(kinds[n])
        words[n_words - 1 :] = kind
        words.view(np.uint8)[: codes.shape[1]] = codes[rows[n]]
        start, following = at, _NONE
        for i in range(_find_odd(words, kind, odd)):
            at, following = _list_word(words[odd[i]], kind, odd[i] << np.uint64(5), following, out, at)
            if at - start > most:
                break
        sizes[n] = np.int64(at - start)
        if at - start > most:
            at = start
            sizes[n] = -1
    return np.int64(at)


@part
def _find_odd(words, kind, odd):
    """Number the words that are not all of one kind; without a branch, for none could be foretold."""
    count = _NONE
    for w in range(words.shape[0]):
        odd[count] = np.uint64(w)
        count += np.uint64(words[w] != kind)
    return count


@part
def _list_word(word, kind, first, following, out, at):
    """List a word's odd codes, at least one; `following` is the place after the code listed before."""
    different = word ^ kind
    different = (different | (different >> _ONE)) & _LOW
    while different != _NONE:
        bit = np.uint64(popcount((different & (~different + _ONE)) - _ONE))
        place = first + (bit >> _ONE)
        number = ((place - following) << _TWO) | ((word >> bit) & _THREE)
        if number >> np.uint64(14):
            while number >= _MORE:
                out[at] = np.uint8((number & _DIGIT) | _MORE)
                number >>= _SEVEN
                at += _ONE
            out[at] = np.uint8(number)
            at += _ONE
        else:  # one byte or two, as it happens: the second is written over where there is none
            is_long = np.uint64(number >= _MORE)
            out[at] = np.uint8((number & _DIGIT) | (is_long << _SEVEN))
            out[at + _ONE] = np.uint8(number >> _SEVEN)
            at += _ONE + is_long
        following = place + _ONE
        different &= different - _ONE
    return at, following


@kernel
def fill_rows(data, starts, ends, kinds, stored, rows, out):
    """Put lists back into whole rows; return how many of them are as they should be.

    Fewer than `len(starts)` means that the next one is damaged: a number is cut off or too long, a place lies
    outside the row, or a code is the row's own kind.

    Parameters
    ----------
    data, starts, ends
        uint8, and int64 (n,): where each list begins and ends.
    kinds
        uint8 (n,): the code that a row is mostly.
    stored
        Bytes of a row to fill; the others are left as they are.
    rows, out
        Row rows[i] of uint8 (rows, bytes) takes list i.
    """
    for n in range(starts.shape[0]):
        row, kind = out[rows[n]], np.uint64(kinds[n])
        row[:stored] = np.uint8(kind * np.uint64(0x55))
        at, end = np.uint64(starts[n]), np.uint64(ends[n])
        place, limit = _NONE, np.uint64(4 * stored)
        while at < end:
            byte = np.uint64(data[at])
            if at + _ONE == end:
                second = _NONE
                if byte & _MORE:
                    return n
            else:
                second = np.uint64(data[at + _ONE])
            # Whether a number has a second byte is a matter of chance: it is read in any case.
            is_long = byte >> _SEVEN
            number = (byte & _DIGIT) | ((second & _DIGIT) << _SEVEN) * is_long
            at += _ONE + is_long
            if is_long & (second >> _SEVEN):
                place_of_digit = np.uint64(14)
                while second >= _MORE:
                    if at >= end or place_of_digit == _LAST_DIGIT:
                        return n
                    second = np.uint64(data[at])
                    number |= (second & _DIGIT) << place_of_digit
                    at += _ONE
                    place_of_digit += _SEVEN
            place += number >> _TWO
            change = (number & _THREE) ^ kind
            if place >= limit or change == _NONE:
                return n
            row[place >> _TWO] ^= np.uint8(change << (_TWO * (place & _THREE)))
            place += _ONE
    return starts.shape[0]
